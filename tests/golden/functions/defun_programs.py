"""Programs whose graphs call functions made by Defun, for TensorFlow 1.15 and kvarn alike.

Each takes the modules, builds its graph and returns what to fetch.
"""

PROGRAMS = {}


def program(build):
    PROGRAMS[build.__name__] = build
    return build


@program
def several_results(tf, function):
    @function.Defun(tf.float32, tf.float32)
    def plus_product(a, b):
        """Sum and product."""
        return a + b, a * b

    return list(plus_product(tf.constant([1.0, 2.0]), 3.0))


@program
def names_of_one_space(tf, function):
    @function.Defun(tf.float32, tf.float32)
    def mixed(X, Mul_1):
        mul = X * Mul_1
        return mul * tf.identity(X, name="x") * tf.identity(mul, name="outer/Mul")

    return [mixed(2.0, 3.0)]


@program
def named_results(tf, function):
    @function.Defun(tf.float32, func_name="Halved", out_names=["half", "quarter"], noinline=True)
    def halved(x):
        return x / 2.0, x / 4.0

    return list(halved(10.0))


@program
def from_outside(tf, function):
    scale = tf.constant(4.0, name="scale")

    @function.Defun(tf.float32)
    def scaled(x):
        return x * scale + tf.square(scale)

    return [scaled(2.0), scaled(3.0)]


@program
def copied_from_outside(tf, function):
    scale = tf.square(tf.constant(4.0, name="scale"))

    @function.Defun(tf.float32, capture_by_value=True)
    def scaled(x):
        return x * scale

    return [scaled(2.0)]


@program
def without_arguments(tf, function):
    @function.Defun()
    def seven():
        return tf.constant(7)

    return [seven()]


@program
def of_any_type(tf, function):
    @function.Defun(func_name="Twice")
    def twice(x):
        return x + x

    return [twice(2.0), twice(tf.constant(3))]


@program
def variables_outside(tf, function):
    @function.Defun(tf.float32)
    def dense(x):
        w = tf.get_variable("w", [], initializer=tf.constant_initializer(3.0), use_resource=True)
        return w * x

    with tf.variable_scope("layer"):
        y = dense(tf.constant(2.0))
    return [y, *tf.gradients(y, tf.global_variables())]


@program
def gradients(tf, function):
    @function.Defun(tf.float32, tf.float32)
    def f(a, b):
        return tf.sin(a) * b

    x, y = tf.constant(1.5), tf.constant(2.5)
    z = f(x, y)
    return [z, *tf.gradients(z, [x, y])]


@program
def a_gradient_of_ones_own(tf, function):
    @function.Defun(tf.float32, tf.float32)
    def ten_times(x, dy):
        return dy * 10.0 + x

    @function.Defun(tf.float32, grad_func=ten_times)
    def f(x):
        return tf.square(x)

    x = tf.constant(3.0)
    y = f(x)
    return [y, *tf.gradients(y, x)]


@program
def a_gradient_in_python(tf, function):
    def minus(op, dy):
        return -dy * op.inputs[0]

    @function.Defun(tf.float32, python_grad_func=minus)
    def f(x):
        return tf.square(x)

    x = tf.constant(3.0)
    y = f(x)
    return [y, *tf.gradients(y, x)]


@program
def functions_call_functions(tf, function):
    @function.Defun(tf.float32)
    def inner(x):
        return x + 1.0

    @function.Defun(tf.float32)
    def outer(x):
        return inner(x) * inner(x * 2.0)

    return [outer(3.0)]


@program
def control_edges(tf, function):
    @function.Defun(tf.float32)
    def ordered(x):
        first = tf.square(x, name="first")
        with tf.control_dependencies([first]):
            return tf.identity(x, name="last")

    return [ordered(3.0)]
