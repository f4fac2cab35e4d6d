"""The table: which object of kvarn each public name of TensorFlow 1.15 and DeepRec stands for.

`_TABLE` goes from namespace (``""`` is ``tf``) to module to names; ``name=attribute`` where the two
differ.  `MODULES` goes from modules of TensorFlow's source tree to the kvarn modules (or ``tf:namespace``)
that their contents are looked up in.
"""

from __future__ import annotations

from functools import cache
from typing import Final

TENSORFLOW_VERSION: Final = "1.15.5"

_TABLE: Final[dict[str, dict[str, str]]] = {
    "": {
        "kvarn.dtypes": """
            DType as_dtype float16 float32 float64 half double bfloat16 int8 int16 int32 int64 uint8
            uint16 uint32 uint64 bool string complex64 complex128 qint8 qint16 qint32 quint8 quint16
            resource variant
        """,
        "kvarn.graph.tensor": "Tensor IndexedSlices SparseTensor SparseTensorValue",
        "kvarn.graph.operation": "Operation",
        "kvarn.graph.tensor_shape": "TensorShape Dimension",
        "kvarn.graph.graph": """
            Graph GraphKeys get_default_graph reset_default_graph name_scope control_dependencies device
            container colocate_with init_scope add_to_collection add_to_collections get_collection
            get_collection_ref op_scope
        """,
        "kvarn.graph.convert": """
            constant convert_to_tensor convert_to_tensor_or_indexed_slices
            convert_to_tensor_or_sparse_tensor register_tensor_conversion_function
        """,
        "kvarn.graph.session": "Session InteractiveSession get_default_session",
        "kvarn.graph.gradients": """
            gradients RegisterGradient NoGradient=no_gradient NotDifferentiable=no_gradient
            AggregationMethod UnconnectedGradients
        """,
        "kvarn.graph.importer": "import_graph_def",
        "kvarn.graph.tensor_util": """
            make_tensor_proto make_ndarray is_tensor contrib_constant_value=constant_value
        """,
        "kvarn.graph.device": "DeviceSpec",
        "kvarn.graph.random_seed": "set_random_seed get_seed",
        "kvarn.protos": """
            GraphDef NodeDef AttrValue ConfigProto GPUOptions GraphOptions OptimizerOptions RunOptions
            RunMetadata MetaGraphDef NameAttrList
        """,
        "kvarn.ops.array": """
            boolean_mask broadcast_dynamic_shape broadcast_static_shape broadcast_to concat
            dynamic_partition dynamic_stitch expand_dims fill gather gather_nd identity identity_n
            invert_permutation matrix_diag matrix_diag_part matrix_set_diag matrix_transpose meshgrid
            one_hot ones ones_like pad placeholder placeholder_with_default rank reshape reverse
            reverse_v2=reverse scatter_nd sequence_mask setdiff1d shape shape_n size slice
            sparse_placeholder split squeeze stack stop_gradient strided_slice tile transpose unique
            unique_with_counts unstack where zeros zeros_like guarantee_const batch_gather bitcast
            check_numerics reverse_sequence tensor_scatter_add tensor_scatter_sub tensor_scatter_update newaxis
        """,
        "kvarn.ops.ranges": "linspace lin_space=linspace range",
        "kvarn.ops.math": """
            abs acos acosh add add_n argmax argmin asin atan atan2 cast ceil complex conj cos cosh cumprod
            cumsum div div_no_nan divide equal erf erfc exp expm1 floor floor_div floordiv floormod
            greater greater_equal imag is_finite is_inf is_nan less less_equal lgamma log log1p
            log_sigmoid logical_and logical_not logical_or logical_xor matmul maximum minimum mod multiply
            negative not_equal pow real realdiv reciprocal reduce_all reduce_any reduce_logsumexp
            reduce_max reduce_mean reduce_min reduce_prod reduce_sum rint round rsqrt saturate_cast
            scalar_mul segment_max segment_mean segment_min segment_prod segment_sum sigmoid sign sin sinh
            sparse_segment_mean sparse_segment_sqrt_n sparse_segment_sum sqrt square squared_difference
            subtract tan tanh tensordot to_bfloat16 to_double to_float to_int32 to_int64 to_complex64
            truediv truncatediv truncatemod unsorted_segment_max unsorted_segment_mean
            unsorted_segment_min unsorted_segment_prod unsorted_segment_sqrt_n unsorted_segment_sum xdivy
            xlogy count_nonzero trace accumulate_n einsum
        """,
        "kvarn.ops.clip": "clip_by_average_norm clip_by_global_norm clip_by_norm clip_by_value global_norm",
        "kvarn.ops.control": "Assert group no_op tuple",
        "kvarn.ops.logging": "Print",
        "kvarn.ops.random": "random_normal random_shuffle random_uniform truncated_normal multinomial",
        "kvarn.ops.state": """
            assign assign_add assign_sub count_up_to scatter_add scatter_div scatter_max scatter_min
            scatter_mul scatter_nd_add scatter_nd_sub scatter_nd_update scatter_sub scatter_update
        """,
        "kvarn.ops.string": """
            as_string reduce_join regex_replace string_join string_split string_strip
            string_to_hash_bucket string_to_hash_bucket_fast string_to_hash_bucket_strong string_to_number
            substr
        """,
        "kvarn.ops.sparse": """
            sparse_fill_empty_rows sparse_reorder sparse_reshape sparse_retain sparse_tensor_dense_matmul
            sparse_tensor_to_dense sparse_to_dense
        """,
        "kvarn.variables.variable": """
            VariableAggregation VariableSynchronization all_variables assert_variables_initialized
            global_variables global_variables_initializer initialize_all_variables
            initialize_local_variables initialize_variables is_variable_initialized local_variables
            local_variables_initializer model_variables moving_average_variables
            report_uninitialized_variables trainable_variables variables_initializer Variable=VariableV1
        """,
        "kvarn.variables.scope": """
            AUTO_REUSE VariableScope get_local_variable get_variable get_variable_scope
            variable_creator_scope variable_op_scope variable_scope no_regularizer get_embedding_variable
            disable_resource_variables enable_resource_variables resource_variables_enabled
        """,
        "kvarn.variables.partitioners": """
            create_partitioned_variables fixed_size_partitioner min_max_variable_partitioner
            variable_axis_size_partitioner
        """,
        "kvarn.variables.initializers": """
            constant_initializer=Constant glorot_normal_initializer=GlorotNormal
            glorot_uniform_initializer=GlorotUniform ones_initializer=Ones
            orthogonal_initializer=Orthogonal random_normal_initializer=RandomNormal
            random_uniform_initializer=RandomUniform truncated_normal_initializer=TruncatedNormal
            uniform_unit_scaling_initializer=UniformUnitScaling
            variance_scaling_initializer=VarianceScaling zeros_initializer=Zeros
        """,
        "kvarn.engine.options": """
            CBFFilter CheckpointOption CounterFilter EmbeddingVariableOption GlobalStepEvict
            InitializerOption L2WeightEvict MultihashOption StorageOption
        """,
        "kvarn.errors": "OpError",
    },
    "train": {
        "kvarn.saver.saver": "Saver export_meta_graph import_meta_graph",
        "kvarn.checkpoint": """
            NewCheckpointReader checkpoint_exists generate_checkpoint_state_proto
            get_checkpoint_mtimes get_checkpoint_state latest_checkpoint list_variables load_checkpoint load_variable remove_checkpoint
            update_checkpoint_state
        """,
        "kvarn.train.optimizer": "Optimizer",
        "kvarn.train.optimizers.adadelta": "AdadeltaOptimizer",
        "kvarn.train.optimizers.adagrad": "AdagradOptimizer",
        "kvarn.train.optimizers.adagrad_da": "AdagradDAOptimizer",
        "kvarn.train.optimizers.adam": "AdamOptimizer",
        "kvarn.train.optimizers.ftrl": "FtrlOptimizer",
        "kvarn.train.optimizers.gradient_descent": "GradientDescentOptimizer",
        "kvarn.train.optimizers.momentum": "MomentumOptimizer",
        "kvarn.train.optimizers.proximal_adagrad": "ProximalAdagradOptimizer",
        "kvarn.train.optimizers.proximal_gradient_descent": "ProximalGradientDescentOptimizer",
        "kvarn.train.optimizers.rmsprop": "RMSPropOptimizer",
        "kvarn.train.training_util": """
            create_global_step get_global_step get_or_create_global_step global_step
        """,
        "kvarn.graph.graph_io": "write_graph",
        "kvarn.protos": "CheckpointState ClusterDef SaverDef",
    },
    "nn": {
        "kvarn.ops.nn": """
            bias_add dropout elu in_top_k l2_loss l2_normalize leaky_relu log_softmax moments relu relu6
            selu sigmoid_cross_entropy_with_logits softmax softmax_cross_entropy_with_logits
            softmax_cross_entropy_with_logits_v2 softplus softsign
            sparse_softmax_cross_entropy_with_logits top_k weighted_cross_entropy_with_logits xw_plus_b
            relu_layer batch_normalization crelu swish
        """,
        "kvarn.ops.math": "sigmoid tanh log_sigmoid",
        "kvarn.variables.embedding_ops": """
            embedding_lookup embedding_lookup_sparse safe_embedding_lookup_sparse
        """,
    },
    "bitwise": {
        "kvarn.ops.bitwise": "bitwise_and bitwise_or bitwise_xor invert left_shift right_shift",
    },
    "math": {
        "kvarn.ops.math": """
            abs add add_n argmax argmin ceil cos cumsum divide divide_no_nan=div_no_nan equal erf exp
            floor greater is_nan less log log1p logical_and logical_not logical_or maximum minimum mod
            multiply negative not_equal pow reciprocal reduce_all reduce_any reduce_max reduce_mean
            reduce_min reduce_prod reduce_sum round rsqrt segment_sum sigmoid sign sin sqrt square
            squared_difference subtract tan tanh truediv unsorted_segment_sum acos acosh accumulate_n asin atan
            atan2 conj cosh count_nonzero cumprod erfc expm1 floordiv floormod greater_equal imag is_finite is_inf
            less_equal lgamma log_sigmoid logical_xor multiply_no_nan real reduce_euclidean_norm reduce_logsumexp
            reduce_std reduce_variance rint scalar_mul segment_max segment_mean segment_min segment_prod sinh
            unsorted_segment_max unsorted_segment_mean unsorted_segment_min unsorted_segment_prod
            unsorted_segment_sqrt_n xdivy xlogy
        """,
        "kvarn.ops.nn": "l2_normalize top_k softplus softsign softmax log_softmax in_top_k",
    },
    "random": {
        "kvarn.ops.random": """
            normal=random_normal shuffle=random_shuffle uniform=random_uniform truncated_normal
        """,
        "kvarn.graph.random_seed": "set_random_seed get_seed",
    },
    "strings": {
        "kvarn.ops.string": """
            as_string join=string_join reduce_join regex_full_match regex_replace length=string_length
            to_hash_bucket=string_to_hash_bucket to_hash_bucket_fast=string_to_hash_bucket_fast
            to_hash_bucket_strong=string_to_hash_bucket_strong to_number=string_to_number
            strip=string_strip substr lower=string_lower upper=string_upper split=string_split
        """,
    },
    "sparse": {
        "kvarn.graph.tensor": "SparseTensor",
        "kvarn.ops.array": "placeholder=sparse_placeholder",
        "kvarn.ops.sparse": """
            fill_empty_rows=sparse_fill_empty_rows reorder=sparse_reorder reshape=sparse_reshape
            retain=sparse_retain sparse_dense_matmul=sparse_tensor_dense_matmul
            to_dense=sparse_tensor_to_dense
        """,
    },
    "initializers": {
        "kvarn.variables.initializers": """
            constant=Constant glorot_normal=GlorotNormal glorot_uniform=GlorotUniform he_normal he_uniform
            identity=Identity lecun_normal lecun_uniform ones=Ones orthogonal=Orthogonal
            random_normal=RandomNormal random_uniform=RandomUniform truncated_normal=TruncatedNormal
            variance_scaling=VarianceScaling zeros=Zeros
        """,
        "kvarn.variables.variable": """
            global_variables=global_variables_initializer local_variables=local_variables_initializer
            variables=variables_initializer
        """,
    },
    "graph_util": {
        "kvarn.graph.graph_util": "convert_variables_to_constants extract_sub_graph remove_training_nodes",
    },
    "errors": {
        "kvarn.errors": """
            ABORTED ALREADY_EXISTS AbortedError AlreadyExistsError CANCELLED CancelledError DATA_LOSS
            DEADLINE_EXCEEDED DataLossError DeadlineExceededError FAILED_PRECONDITION
            FailedPreconditionError INTERNAL INVALID_ARGUMENT InternalError InvalidArgumentError NOT_FOUND
            NotFoundError OK OUT_OF_RANGE OpError OutOfRangeError PERMISSION_DENIED PermissionDeniedError
            RESOURCE_EXHAUSTED ResourceExhaustedError UNAUTHENTICATED UNAVAILABLE UNIMPLEMENTED UNKNOWN
            UnauthenticatedError UnavailableError UnimplementedError UnknownError
            error_code_from_exception_type exception_type_from_error_code
        """,
    },
    "logging": {
        "kvarn.compat.tensorflow.logging": """
            DEBUG ERROR FATAL INFO WARN debug error fatal flush get_verbosity info log log_every_n
            log_first_n log_if set_verbosity vlog warn warning
        """,
    },
    "gfile": {
        "kvarn.compat.tensorflow.gfile": """
            Copy DeleteRecursively Exists FastGFile GFile Glob IsDirectory ListDirectory MakeDirs MkDir
            Open Remove Rename Stat Walk
        """,
    },
    "io": {
        "kvarn.graph.graph_io": "write_graph",
    },
    "compat": {
        "kvarn.compat.tensorflow.compat_strings": "as_bytes as_str as_str_any as_text bytes_or_text_types",
    },
}

NAMESPACES: Final = frozenset(name for name in _TABLE if name)

# Modules of TensorFlow's tree that programs import directly.
MODULES: Final[dict[str, tuple[str, ...]]] = {
    "core.framework.attr_value_pb2": ("protos",),
    "core.framework.embedding.config_pb2": ("protos",),
    "core.framework.graph_pb2": ("protos",),
    "core.framework.node_def_pb2": ("protos",),
    "core.framework.op_def_pb2": ("protos",),
    "core.framework.tensor_pb2": ("protos",),
    "core.framework.tensor_shape_pb2": ("protos",),
    "core.framework.types_pb2": ("protos",),
    "core.framework.variable_pb2": ("protos",),
    "core.framework.versions_pb2": ("protos",),
    "core.protobuf.config_pb2": ("protos",),
    "core.protobuf.meta_graph_pb2": ("protos",),
    "core.protobuf.saver_pb2": ("protos",),
    "core.protobuf.tensor_bundle_pb2": ("protos",),
    "core.protobuf.trackable_object_graph_pb2": ("protos",),
    "python.client.session": ("kvarn.graph.session",),
    "python.framework.constant_op": ("kvarn.graph.convert",),
    "python.framework.device": ("kvarn.graph.device",),
    "python.framework.dtypes": ("kvarn.dtypes",),
    "python.framework.errors": ("kvarn.errors",),
    "python.framework.errors_impl": ("kvarn.errors",),
    "python.framework.graph_io": ("kvarn.graph.graph_io",),
    "python.framework.graph_util": ("kvarn.graph.graph_util",),
    "python.framework.importer": ("kvarn.graph.importer",),
    "python.framework.meta_graph": ("kvarn.graph.meta_graph",),
    "python.framework.ops": (
        "kvarn.graph.graph",
        "kvarn.graph.convert",
        "kvarn.graph.tensor",
        "kvarn.graph.operation",
        "kvarn.graph.gradients",
        "kvarn.graph.session",
    ),
    "python.framework.random_seed": ("kvarn.graph.random_seed",),
    "python.framework.sparse_tensor": ("kvarn.graph.tensor", "kvarn.graph.convert"),
    "python.framework.tensor_shape": ("kvarn.graph.tensor_shape",),
    "python.framework.tensor_util": ("kvarn.graph.tensor_util",),
    "python.ops.array_ops": ("kvarn.ops.array",),
    "python.ops.check_ops": ("tf",),
    "python.ops.clip_ops": ("kvarn.ops.clip",),
    "python.ops.control_flow_ops": ("kvarn.ops.control",),
    "python.ops.embedding_ops": ("kvarn.variables.embedding_ops",),
    "python.ops.gen_array_ops": ("kvarn.ops.array",),
    "python.ops.gen_math_ops": ("kvarn.ops.math", "kvarn.ops.reduction"),
    "python.ops.gen_state_ops": ("kvarn.ops.state",),
    "python.ops.gen_resource_variable_ops": ("kvarn.ops.resource_variable",),
    "python.ops.gen_io_ops": ("kvarn.ops.checkpoint",),
    "python.ops.gen_kv_variable_ops": ("kvarn.ops.kv",),
    "python.ops.gradients": ("kvarn.graph.gradients",),
    "python.ops.gradients_impl": ("kvarn.graph.gradients",),
    "python.ops.init_ops": ("kvarn.variables.initializers", "tf"),
    "python.ops.io_ops": ("kvarn.ops.checkpoint",),
    "python.ops.kv_variable_ops": ("kvarn.variables.embedding_variable", "kvarn.ops.kv"),
    "python.ops.logging_ops": ("kvarn.ops.logging",),
    "python.ops.math_ops": ("kvarn.ops.math", "kvarn.ops.reduction"),
    "python.ops.nn": ("tf:nn",),
    "python.ops.nn_ops": ("tf:nn", "kvarn.ops.nn"),
    "python.ops.partitioned_variables": ("kvarn.variables.partitioners",),
    "python.ops.random_ops": ("kvarn.ops.random",),
    "python.ops.resource_variable_ops": ("kvarn.variables.resource_variable", "kvarn.ops.resource_variable"),
    "python.ops.sparse_ops": ("kvarn.ops.sparse",),
    "python.ops.state_ops": ("kvarn.ops.state",),
    "python.ops.string_ops": ("kvarn.ops.string",),
    "python.ops.variable_scope": ("kvarn.variables.scope",),
    "python.ops.variables": (
        "kvarn.variables.variable",
        "kvarn.variables.ref_variable",
        "kvarn.engine.options",
        "kvarn.variables.partitioned_variable",
    ),
    "python.platform.gfile": ("tf:gfile",),
    "python.platform.tf_logging": ("tf:logging",),
    "python.training.adadelta": ("kvarn.train.optimizers.adadelta",),
    "python.training.adagrad": ("kvarn.train.optimizers.adagrad",),
    "python.training.adagrad_da": ("kvarn.train.optimizers.adagrad_da",),
    "python.training.adam": ("kvarn.train.optimizers.adam",),
    "python.training.checkpoint_management": ("kvarn.checkpoint",),
    "python.training.checkpoint_utils": ("kvarn.checkpoint",),
    "python.training.ftrl": ("kvarn.train.optimizers.ftrl",),
    "python.training.gradient_descent": ("kvarn.train.optimizers.gradient_descent",),
    "python.training.momentum": ("kvarn.train.optimizers.momentum",),
    "python.training.optimizer": ("kvarn.train.optimizer",),
    "python.training.proximal_adagrad": ("kvarn.train.optimizers.proximal_adagrad",),
    "python.training.proximal_gradient_descent": ("kvarn.train.optimizers.proximal_gradient_descent",),
    "python.training.rmsprop": ("kvarn.train.optimizers.rmsprop",),
    "python.training.saver": ("kvarn.saver.saver", "kvarn.saver.builder", "kvarn.checkpoint"),
    "python.training.saving.saveable_object": ("kvarn.saver.saveable_object",),
    "python.training.saving.saveable_object_util": ("kvarn.saver.saveable_object_util",),
    "python.training.slot_creator": ("kvarn.train.slot_creator",),
    "python.training.training_util": ("kvarn.train.training_util",),
    "python.training": ("tf:train",),
    "python.util.compat": ("tf:compat",),
}


@cache
def _namespace(namespace: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for module, text in _TABLE.get(namespace, {}).items():
        for item in text.split():
            name, _, attribute = item.partition("=")
            found[name] = f"{module}:{attribute or name}"
    return found


def find(namespace: str, name: str) -> str | None:
    """``module:attribute`` of a name, or None if the table has none."""
    return _namespace(namespace).get(name)


def names_in(namespace: str) -> list[str]:
    """All names of a namespace, those of the namespaces inside it included."""
    prefix = namespace + "." if namespace else ""
    inner = [n[len(prefix) :] for n in NAMESPACES if n.startswith(prefix) and "." not in n[len(prefix) :]]
    return sorted({*_namespace(namespace), *inner})


@cache
def all_names() -> tuple[str, ...]:
    """Every full name without the leading ``tf.``."""
    return tuple(
        sorted(f"{space}.{name}" if space else name for space in _TABLE for name in _namespace(space))
        + sorted(NAMESPACES)
    )
