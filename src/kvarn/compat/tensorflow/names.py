"""The table: which object of kvarn each public name of TensorFlow 1.15 and DeepRec stands for.

`_TABLE` goes from namespace (``""`` is ``tf``) to module to names; ``name=attribute`` where the two
differ.  `MODULES` goes from modules of TensorFlow's source tree to the kvarn modules (or ``tf:namespace``)
that their contents are looked up in.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

TENSORFLOW_VERSION: Final = "1.15.5"

_SAVED_MODEL_CONSTANTS: Final = """
    ASSETS_DIRECTORY ASSETS_KEY LEGACY_INIT_OP_KEY MAIN_OP_KEY SAVED_MODEL_FILENAME_PB SAVED_MODEL_FILENAME_PBTXT
    SAVED_MODEL_SCHEMA_VERSION VARIABLES_DIRECTORY VARIABLES_FILENAME
"""
_SIGNATURE_CONSTANTS: Final = """
    CLASSIFY_INPUTS CLASSIFY_METHOD_NAME CLASSIFY_OUTPUT_CLASSES CLASSIFY_OUTPUT_SCORES
    DEFAULT_SERVING_SIGNATURE_DEF_KEY PREDICT_INPUTS PREDICT_METHOD_NAME PREDICT_OUTPUTS REGRESS_INPUTS
    REGRESS_METHOD_NAME REGRESS_OUTPUTS
"""
_SIGNATURE_DEF_UTILS: Final = """
    build_signature_def classification_signature_def is_valid_signature predict_signature_def
    regression_signature_def
"""

_SEQUENCE_COLUMNS: Final = """
    sequence_categorical_column_with_hash_bucket sequence_categorical_column_with_identity
    sequence_categorical_column_with_vocabulary_file sequence_categorical_column_with_vocabulary_list
    sequence_numeric_column
"""

_TABLE: Final[dict[str, dict[str, str]]] = {
    "": {
        "kvarn.compat.tensorflow.versions": """
            COMPILER_VERSION GIT_VERSION VERSION disable_eager_execution disable_v2_behavior disable_v2_tensorshape
            executing_eagerly
        """,
        "kvarn.tf_logging": "get_logger",
        "kvarn.dtypes": """
            as_dtype bfloat16 bool complex128 complex64 double DType float16 float32 float64 half int16
            int32 int64 int8 qint16 qint32 qint8 quint16 quint8 resource string uint16 uint32 uint64 uint8
            variant
        """,
        "kvarn.graph.tensor": "IndexedSlices SparseTensor SparseTensorValue Tensor",
        "kvarn.train.tracking.module": "Module",
        "kvarn.graph.operation": "Operation",
        "kvarn.graph.tensor_shape": "Dimension TensorShape",
        "kvarn.graph.tensor_spec": "TensorSpec",
        "kvarn.graph.type_spec": "IndexedSlicesSpec SparseTensorSpec TypeSpec",
        "kvarn.graph.graph": """
            add_to_collection add_to_collections colocate_with container control_dependencies device
            get_collection get_collection_ref get_default_graph Graph GraphKeys init_scope name_scope
            op_scope reset_default_graph
        """,
        "kvarn.graph.convert": """
            constant convert_to_tensor convert_to_tensor_or_indexed_slices
            convert_to_tensor_or_sparse_tensor register_tensor_conversion_function
        """,
        "kvarn.graph.session": "get_default_session InteractiveSession Session",
        "kvarn.graph.gradients": """
            AggregationMethod gradients NoGradient=no_gradient NotDifferentiable=no_gradient
            RegisterGradient UnconnectedGradients
        """,
        "kvarn.graph.importer": "import_graph_def",
        "kvarn.graph.tensor_util": """
            contrib_constant_value=constant_value is_tensor make_ndarray make_tensor_proto
        """,
        "kvarn.graph.device": "DeviceSpec",
        "kvarn.graph.random_seed": "get_seed set_random_seed",
        "kvarn.protos": """
            AttrValue ConfigProto Event GPUOptions GraphDef GraphOptions HistogramProto LogMessage MetaGraphDef
            NameAttrList NodeDef OptimizerOptions RunMetadata RunOptions SessionLog Summary SummaryMetadata
        """,
        "kvarn.ops.array": """
            batch_gather bitcast boolean_mask broadcast_dynamic_shape broadcast_static_shape broadcast_to
            check_numerics concat dynamic_partition dynamic_stitch expand_dims fill gather gather_nd
            guarantee_const identity identity_n invert_permutation matrix_diag matrix_diag_part
            matrix_set_diag matrix_transpose meshgrid newaxis one_hot ones ones_like pad placeholder
            placeholder_with_default rank reshape reverse reverse_sequence reverse_v2=reverse scatter_nd
            sequence_mask setdiff1d shape shape_n size slice sparse_placeholder split squeeze stack
            stop_gradient strided_slice tensor_scatter_add tensor_scatter_sub tensor_scatter_update tile
            transpose unique unique_with_counts unstack where zeros zeros_like
        """,
        "kvarn.ops.ranges": "lin_space=linspace linspace range",
        "kvarn.ops.repeating": "repeat",
        "kvarn.ops.math": """
            abs accumulate_n acos acosh add add_n argmax argmin asin atan atan2 cast ceil complex conj cos
            cosh count_nonzero cumprod cumsum div div_no_nan divide einsum equal erf erfc exp expm1 floor
            floor_div floordiv floormod greater greater_equal imag is_finite is_inf is_nan less less_equal
            lgamma log log1p log_sigmoid logical_and logical_not logical_or logical_xor matmul maximum
            minimum mod multiply negative not_equal pow real realdiv reciprocal reduce_all reduce_any
            reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum rint round rsqrt
            saturate_cast scalar_mul segment_max segment_mean segment_min segment_prod segment_sum sigmoid
            sign sin sinh sparse_segment_mean sparse_segment_sqrt_n sparse_segment_sum sqrt square
            squared_difference subtract tan tanh tensordot to_bfloat16 to_complex64 to_double to_float
            to_int32 to_int64 trace truediv truncatediv truncatemod unsorted_segment_max
            unsorted_segment_mean unsorted_segment_min unsorted_segment_prod unsorted_segment_sqrt_n
            unsorted_segment_sum xdivy xlogy
        """,
        "kvarn.ops.clip": """
            clip_by_average_norm clip_by_global_norm clip_by_norm clip_by_value global_norm
        """,
        "kvarn.ops.conditional": "case cond switch_case",
        "kvarn.ops.control": "Assert group no_op tuple",
        "kvarn.ops.control_flow_v2_toggles": """
            control_flow_v2_enabled disable_control_flow_v2 enable_control_flow_v2
        """,
        "kvarn.ops.logging": "Print print=print_v2",
        "kvarn.ops.random": "multinomial random_normal random_shuffle random_uniform truncated_normal",
        "kvarn.ops.tensor_array": "TensorArray",
        "kvarn.variables.custom_gradient": "custom_gradient grad_pass_through recompute_grad",
        "kvarn.variables.def_function": "function",
        "kvarn.variables.functional_ops": "foldl foldr hessians map_fn scan",
        "kvarn.ops.while_loop": "while_loop",
        "kvarn.ops.state": """
            assign assign_add assign_sub count_up_to scatter_add scatter_div scatter_max scatter_min
            scatter_mul scatter_nd_add scatter_nd_sub scatter_nd_update scatter_sub scatter_update
        """,
        "kvarn.ops.string": """
            as_string reduce_join regex_replace string_join string_split string_strip string_to_hash_bucket
            string_to_hash_bucket_fast string_to_hash_bucket_strong string_to_number substr
        """,
        "kvarn.ops.sparse": """
            sparse_fill_empty_rows sparse_reorder sparse_reshape sparse_retain sparse_tensor_dense_matmul
            sparse_tensor_to_dense sparse_to_dense
        """,
        "kvarn.variables.variable": """
            all_variables assert_variables_initialized global_variables global_variables_initializer
            initialize_all_variables initialize_local_variables initialize_variables is_variable_initialized
            local_variables local_variables_initializer model_variables moving_average_variables
            report_uninitialized_variables trainable_variables Variable=VariableV1 VariableAggregation
            variables_initializer VariableSynchronization
        """,
        "kvarn.variables.scope": """
            AUTO_REUSE disable_resource_variables enable_resource_variables
            get_dynamic_dimension_embedding_variable get_embedding_variable get_local_variable
            get_variable get_variable_scope no_regularizer resource_variables_enabled
            variable_creator_scope variable_op_scope variable_scope VariableScope
        """,
        "kvarn.variables.multihash_variable": "get_multihash_variable",
        "kvarn.data.queue_readers": """
            FixedLengthRecordReader IdentityReader ReaderBase TextLineReader TFRecordReader WholeFileReader
        """,
        "kvarn.variables.queues": "FIFOQueue PaddingFIFOQueue QueueBase RandomShuffleQueue",
        "kvarn.variables.partitioners": """
            create_partitioned_variables fixed_size_partitioner min_max_variable_partitioner
            variable_axis_size_partitioner
        """,
        "kvarn.variables.initializers": """
            constant_initializer=Constant glorot_normal_initializer=GlorotNormal
            glorot_uniform_initializer=GlorotUniform ones_initializer=Ones orthogonal_initializer=Orthogonal
            random_normal_initializer=RandomNormal random_uniform_initializer=RandomUniform
            truncated_normal_initializer=TruncatedNormal uniform_unit_scaling_initializer=UniformUnitScaling
            variance_scaling_initializer=VarianceScaling zeros_initializer=Zeros
        """,
        "kvarn.engine.options": """
            CBFFilter CheckpointOption CombinedEvict CounterFilter EmbeddingVariableConfig EmbeddingVariableOption
            GlobalStepEvict InitializerOption L2WeightEvict MultihashOption StorageOption
        """,
        "kvarn.errors": "OpError",
        "kvarn.ops.files": "matching_files read_file write_file",
        "kvarn.ops.encoding": "decode_base64 decode_raw=decode_raw_v1 encode_base64",
        "kvarn.ops.messages": "decode_json_example parse_tensor serialize_tensor",
        "kvarn.ops.csv": "decode_csv",
        "kvarn.ops.parsing": """
            FixedLenFeature FixedLenSequenceFeature parse_example parse_single_example SparseFeature VarLenFeature
        """,
        "kvarn.ops.sequence_parsing": "parse_sequence_example parse_single_sequence_example",
        "kvarn.ops.search": "histogram_fixed_width histogram_fixed_width_bins searchsorted",
        "kvarn.ops.matrices": """
            diag diag_part eye matrix_band_part matrix_determinant matrix_inverse norm qr
        """,
        "kvarn.ops.manip": "roll",
        "kvarn.ops.special": "digamma polygamma zeta",
        "kvarn.variables.template": "make_template",
        "kvarn.variables.resources": "tables_initializer",
        "kvarn.ops.check": """
            assert_equal assert_greater assert_greater_equal assert_less assert_less_equal assert_negative
            assert_non_negative assert_non_positive assert_none_equal assert_positive assert_rank
            assert_rank_in assert_type
        """,
        "kvarn.ops.sparse_math": """
            sparse_add sparse_maximum sparse_minimum sparse_reduce_max sparse_reduce_sum sparse_softmax
        """,
        "kvarn.ops.sparse_shape": """
            sparse_concat sparse_merge sparse_reset_shape sparse_slice sparse_split sparse_to_indicator
            sparse_transpose
        """,
        "kvarn.ops.sparse_serial": "deserialize_many_sparse serialize_many_sparse",
        "kvarn.ops.script": "numpy_function py_func py_function=eager_py_func",
    },
    "train": {
        "kvarn.saver.saver": "export_meta_graph import_meta_graph Saver",
        "kvarn.checkpoint": """
            checkpoint_exists generate_checkpoint_state_proto get_checkpoint_mtimes get_checkpoint_state
            latest_checkpoint list_variables load_checkpoint load_variable NewCheckpointReader
            remove_checkpoint update_checkpoint_state
        """,
        "kvarn.checkpoint.waiting": "checkpoints_iterator",
        "kvarn.train.tracking.checkpoint": "Checkpoint",
        "kvarn.train.tracking.checkpoint_manager": "CheckpointManager",
        "kvarn.train.optimizer": "Optimizer",
        "kvarn.train.optimizers.adadelta": "AdadeltaOptimizer",
        "kvarn.train.optimizers.adagrad": "AdagradOptimizer",
        "kvarn.train.optimizers.adagrad_da": "AdagradDAOptimizer",
        "kvarn.train.optimizers.adagrad_decay": "AdagradDecayOptimizer AdagradDecayOptimizerV2",
        "kvarn.train.optimizers.adam": "AdamOptimizer",
        "kvarn.train.optimizers.adam_async": "AdamAsyncOptimizer",
        "kvarn.train.optimizers.adam_w": "AdamWOptimizer",
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
        "kvarn.protos": """
            BytesList CheckpointState ClusterDef Example Feature FeatureList FeatureLists Features FloatList
            Int64List SaverDef SequenceExample
        """,
        "kvarn.train.device_setter": "replica_device_setter",
        "kvarn.train.checkpoint_utils": "init_from_checkpoint",
        "kvarn.train.warm_starting": "VocabInfo warm_start",
        "kvarn.train.coordinator": "Coordinator LooperThread",
        "kvarn.train.input": """
            input_producer limit_epochs range_input_producer slice_input_producer string_input_producer
        """,
        "kvarn.train.batching": """
            batch batch_join maybe_batch maybe_batch_join maybe_shuffle_batch maybe_shuffle_batch_join
            shuffle_batch shuffle_batch_join
        """,
        "kvarn.train.queue_runner": "add_queue_runner QueueRunner start_queue_runners",
        "kvarn.train.cluster_spec": "ClusterSpec",
        "kvarn.train.server": "Server",
        "kvarn.train.learning_rate_decay": """
            cosine_decay cosine_decay_restarts exponential_decay inverse_time_decay linear_cosine_decay
            natural_exp_decay noisy_linear_cosine_decay piecewise_constant
            piecewise_constant_decay=piecewise_constant polynomial_decay
        """,
        "kvarn.train.session_run_hook": """
            SessionRunArgs SessionRunContext SessionRunHook SessionRunValues
        """,
        "kvarn.train.session_manager": "SessionManager",
        "kvarn.train.scaffold": "Scaffold",
        "kvarn.train.session_creator": "ChiefSessionCreator SessionCreator WorkerSessionCreator",
        "kvarn.train.monitored_session": "MonitoredSession SingularMonitoredSession",
        "kvarn.train.monitored_training_session": "MonitoredTrainingSession",
        "kvarn.train.supervisor": "Supervisor",
        "kvarn.train.moving_averages": "ExponentialMovingAverage",
        "kvarn.train.hooks.timer": "SecondOrStepTimer",
        "kvarn.train.hooks.stopping": """
            GlobalStepWaiterHook NanLossDuringTrainingError NanTensorHook StopAtStepHook
        """,
        "kvarn.train.hooks.logging_tensors": "LoggingTensorHook",
        "kvarn.train.hooks.running": "FeedFnHook FinalOpsHook",
        "kvarn.train.hooks.checkpoint_saver": "CheckpointSaverHook CheckpointSaverListener",
        "kvarn.train.hooks.summaries": "StepCounterHook SummarySaverHook",
        "kvarn.train.hooks.profiler": "ProfilerHook",
        "kvarn.summary.summary_iterator": "summary_iterator",
    },
    "train.experimental": {"kvarn.train.tracking.python_state": "PythonState"},
    "train.queue_runner": {
        "kvarn.train.queue_runner": "add_queue_runner QueueRunner start_queue_runners",
    },
    "summary": {
        "kvarn.protos": "Event SessionLog Summary SummaryDescription TaggedRunMetadata",
        "kvarn.summary.summary": """
            audio get_summary_description histogram image merge merge_all scalar tensor_summary text
        """,
        "kvarn.summary.writer": "FileWriter",
        "kvarn.summary.writer_cache": "FileWriterCache",
        "kvarn.summary.resource_writer": "all_v2_summary_ops",
        "kvarn.train.summary_ops_v2": "initialize",
    },
    "queue": {"kvarn.variables.queues": "FIFOQueue PaddingFIFOQueue QueueBase RandomShuffleQueue"},
    "lookup": {
        "kvarn.variables.table_initializers": "KeyValueTensorInitializer TextFileIndex TextFileInitializer",
        "kvarn.variables.lookup_tables": """
            StaticHashTable=StaticHashTableV1 StaticVocabularyTable=StaticVocabularyTableV1
        """,
    },
    "lookup.experimental": {"kvarn.variables.mutable_tables": "DenseHashTable"},
    "contrib.summary": {
        "kvarn.summary.resource_writer": """
            all_summary_ops=all_v2_summary_ops always_record_summaries create_db_writer create_file_writer flush
            import_event never_record_summaries should_record_summaries summary_writer_initializer_op
            SummaryWriter
        """,
        "kvarn.train.summary_ops_v2": """
            audio eval_dir generic graph histogram image initialize record_summaries_every_n_global_steps scalar
        """,
    },
    "contrib.checkpoint": {
        "kvarn.train.tracking.auto_trackable": "Checkpointable=AutoTrackable",
        "kvarn.train.tracking.checkpoint": "list_objects object_metadata",
        "kvarn.protos": "CheckpointableObjectGraph=TrackableObjectGraph",
        "kvarn.train.tracking.checkpoint_manager": "CheckpointManager",
        "kvarn.train.tracking.data_structures": "List Mapping NoDependency UniqueNameTracker",
        "kvarn.train.tracking.python_state": "PythonStateWrapper=PythonState",
        "kvarn.variables.trackable": "CheckpointableBase=Trackable",
        "kvarn.variables.captured_dependencies": "capture_dependencies",
    },
    "contrib.layers": {
        "kvarn.layers.contrib.initializers": """
            variance_scaling_initializer xavier_initializer xavier_initializer_conv2d
        """,
        "kvarn.layers.contrib.layers": "dropout elu flatten fully_connected linear relu relu6",
        "kvarn.layers.contrib.regularizers": """
            apply_regularization l1_l2_regularizer l1_regularizer l2_regularizer sum_regularizer
        """,
    },
    "contrib.framework": {
        "kvarn.layers.contrib.arg_scope": """
            add_arg_scope arg_scope arg_scope_func_key arg_scoped_arguments current_arg_scope has_arg_scope
        """,
        "kvarn.layers.contrib.variables": "model_variable variable",
        "kvarn.variables.convolutional_initializers": """
            convolutional_delta_orthogonal=ConvolutionDeltaOrthogonal
            convolutional_orthogonal_1d=ConvolutionOrthogonal1D
            convolutional_orthogonal_2d=ConvolutionOrthogonal2D
            convolutional_orthogonal_3d=ConvolutionOrthogonal3D
        """,
        "kvarn.train.training_util": """
            assert_global_step create_global_step get_global_step get_or_create_global_step
        """,
    },
    "contrib.lookup": {
        "kvarn.variables.table_initializers": """
            KeyValueTensorInitializer TextFileIdTableInitializer TextFileIndex TextFileInitializer
            TextFileStringTableInitializer
        """,
        "kvarn.variables.lookup_tables": """
            FastHashSpec HasherSpec HashTable IdTableWithHashBuckets LookupInterface StrongHashSpec
        """,
        "kvarn.variables.mutable_tables": "MutableDenseHashTable MutableHashTable",
        "kvarn.variables.vocabularies": """
            index_table_from_file index_table_from_tensor index_to_string_table_from_file
            index_to_string_table_from_tensor
        """,
    },
    "contrib.opt": {
        "kvarn.train.optimizers.adam_w": "AdamWOptimizer DecoupledWeightDecayExtension",
        "kvarn.train.optimizers.lazy_adam": "LazyAdamOptimizer",
    },
    "nn": {
        "kvarn.ops.nn": """
            batch_normalization bias_add crelu dropout elu in_top_k l2_loss l2_normalize leaky_relu
            log_poisson_loss log_softmax relu relu6 relu_layer selu sigmoid_cross_entropy_with_logits softmax
            softmax_cross_entropy_with_logits softmax_cross_entropy_with_logits_v2 softplus softsign
            sparse_softmax_cross_entropy_with_logits top_k weighted_cross_entropy_with_logits xw_plus_b
        """,
        "kvarn.ops.moments": """
            moments normalize_moments sufficient_statistics weighted_moments zero_fraction
        """,
        "kvarn.ops.candidate_sampling": """
            all_candidate_sampler compute_accidental_hits fixed_unigram_candidate_sampler
            learned_unigram_candidate_sampler log_uniform_candidate_sampler uniform_candidate_sampler
        """,
        "kvarn.variables.sampled_losses": "nce_loss sampled_softmax_loss",
        "kvarn.variables.swish": "swish",
        "kvarn.ops.nn_convolution": """
            conv1d conv1d_transpose conv2d conv2d_backprop_filter conv2d_backprop_input conv2d_transpose conv3d
            conv3d_transpose
        """,
        "kvarn.ops.nn_convolution_nd": "atrous_conv2d conv_transpose convolution",
        "kvarn.ops.nn_depthwise": """
            depthwise_conv2d depthwise_conv2d_native depthwise_conv2d_native_backprop_filter
            depthwise_conv2d_native_backprop_input separable_conv2d
        """,
        "kvarn.ops.space_to_batch": "with_space_to_batch",
        "kvarn.ops.nn_pooling": """
            avg_pool avg_pool1d avg_pool2d avg_pool3d max_pool max_pool1d max_pool2d max_pool3d
        """,
        "kvarn.ops.batch_norm": "fused_batch_norm local_response_normalization=lrn lrn",
        "kvarn.ops.math": "log_sigmoid sigmoid tanh",
        "kvarn.variables.embedding_ops": "embedding_lookup embedding_lookup_sparse",
        "kvarn.variables.safe_embedding_ops": "fused_safe_embedding_lookup_sparse safe_embedding_lookup_sparse",
        "kvarn.variables.adaptive_embedding_ops": """
            adaptive_embedding_lookup_sparse safe_adaptive_embedding_lookup_sparse
        """,
        "kvarn.variables.multi_dim_embedding_ops": """
            embedding_lookup_sparse_multi_dim safe_embedding_lookup_multi_dim
        """,
        "kvarn.variables.group_embedding_ops": "group_embedding_lookup group_embedding_lookup_sparse",
    },
    "image": {"kvarn.ops.image_resize": "resize_bilinear resize_nearest_neighbor"},
    "bitwise": {
        "kvarn.ops.bitwise": "bitwise_and bitwise_or bitwise_xor invert left_shift right_shift",
    },
    "math": {
        "kvarn.ops.math": """
            abs accumulate_n acos acosh add add_n argmax argmin asin atan atan2 ceil conj cos cosh
            count_nonzero cumprod cumsum divide divide_no_nan=div_no_nan equal erf erfc exp expm1 floor
            floordiv floormod greater greater_equal imag is_finite is_inf is_nan less less_equal lgamma log
            log1p log_sigmoid logical_and logical_not logical_or logical_xor maximum minimum mod multiply
            multiply_no_nan negative nextafter not_equal pow real reciprocal reciprocal_no_nan reduce_all
            reduce_any reduce_euclidean_norm reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod
            reduce_std reduce_sum reduce_variance rint round rsqrt scalar_mul segment_max segment_mean
            segment_min segment_prod segment_sum sigmoid sign sin sinh sqrt square squared_difference subtract
            tan tanh truediv unsorted_segment_max unsorted_segment_mean unsorted_segment_min
            unsorted_segment_prod unsorted_segment_sqrt_n unsorted_segment_sum xdivy xlogy
        """,
        "kvarn.ops.nn": "in_top_k l2_normalize log_softmax softmax softplus softsign top_k",
        "kvarn.ops.special": "digamma polygamma zeta",
    },
    "random": {
        "kvarn.ops.random": """
            normal=random_normal shuffle=random_shuffle truncated_normal uniform=random_uniform
        """,
        "kvarn.graph.random_seed": "get_seed set_random_seed",
        "kvarn.ops.candidate_sampling": """
            all_candidate_sampler fixed_unigram_candidate_sampler learned_unigram_candidate_sampler
            log_uniform_candidate_sampler uniform_candidate_sampler
        """,
    },
    "strings": {
        "kvarn.ops.string": """
            as_string join=string_join length=string_length lower=string_lower reduce_join regex_full_match
            regex_replace split=string_split strip=string_strip substr to_hash_bucket=string_to_hash_bucket
            to_hash_bucket_fast=string_to_hash_bucket_fast
            to_hash_bucket_strong=string_to_hash_bucket_strong to_number=string_to_number upper=string_upper
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
        "kvarn.ops.sparse_math": """
            add=sparse_add maximum=sparse_maximum minimum=sparse_minimum reduce_max=sparse_reduce_max
            reduce_sum=sparse_reduce_sum softmax=sparse_softmax
        """,
        "kvarn.ops.sparse_cross": "cross=sparse_cross cross_hashed=sparse_cross_hashed",
        "kvarn.ops.sparse_making": "eye=sparse_eye from_dense",
        "kvarn.ops.sparse_shape": """
            concat=sparse_concat expand_dims=sparse_expand_dims merge=sparse_merge
            reset_shape=sparse_reset_shape slice=sparse_slice split=sparse_split
            to_indicator=sparse_to_indicator transpose=sparse_transpose
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
    "test": {
        "kvarn.compat.tensorflow.testing.environment": """
            Benchmark create_local_cluster get_temp_dir gpu_device_name is_built_with_cuda is_built_with_gpu_support
            is_built_with_rocm is_gpu_available main mock StubOutForTesting test_src_dir_path
        """,
        "kvarn.compat.tensorflow.testing.test_case": "TestCase",
        "kvarn.compat.tensorflow.testing.graphs": "assert_equal_graph_def",
        "kvarn.compat.tensorflow.testing.gradient_checker": "compute_gradient compute_gradient_error",
    },
    "metrics": {
        "kvarn.variables.metrics": """
            accuracy false_negatives false_positives mean mean_absolute_error mean_cosine_distance
            mean_relative_error mean_squared_error mean_tensor percentage_below precision recall
            root_mean_squared_error true_negatives true_positives
        """,
        "kvarn.variables.metrics_at_thresholds": """
            auc false_negatives_at_thresholds false_positives_at_thresholds precision_at_thresholds
            recall_at_thresholds sensitivity_at_specificity specificity_at_sensitivity
            true_negatives_at_thresholds true_positives_at_thresholds
        """,
    },
    "losses": {
        "kvarn.ops.losses": """
            absolute_difference add_loss compute_weighted_loss cosine_distance get_losses
            get_regularization_loss get_regularization_losses get_total_loss hinge_loss huber_loss log_loss
            mean_pairwise_squared_error mean_squared_error Reduction sigmoid_cross_entropy
            softmax_cross_entropy sparse_softmax_cross_entropy
        """,
    },
    "graph_util": {
        "kvarn.graph.graph_util": """
            convert_variables_to_constants extract_sub_graph must_run_on_cpu remove_training_nodes
            tensor_shape_from_node_def_name
        """,
    },
    "saved_model": {
        "kvarn.saved_model.builder": "Builder=SavedModelBuilder",
        "kvarn.saved_model.constants": _SAVED_MODEL_CONSTANTS,
        "kvarn.saved_model.loader": """
            contains_saved_model load maybe_saved_model_directory
        """,
        "kvarn.saved_model.main_op": "main_op_with_restore",
        "kvarn.saved_model.signature_constants": _SIGNATURE_CONSTANTS,
        "kvarn.saved_model.signature_def_utils": _SIGNATURE_DEF_UTILS,
        "kvarn.saved_model.simple_save": "simple_save",
        "kvarn.saved_model.tag_constants": "GPU SERVING TPU TRAINING",
        "kvarn.saved_model.utils": "build_tensor_info get_tensor_from_tensor_info",
    },
    "saved_model.builder": {"kvarn.saved_model.builder": "SavedModelBuilder"},
    "saved_model.constants": {"kvarn.saved_model.constants": _SAVED_MODEL_CONSTANTS},
    "saved_model.loader": {"kvarn.saved_model.loader": "load maybe_saved_model_directory"},
    "saved_model.main_op": {"kvarn.saved_model.main_op": "main_op main_op_with_restore"},
    "saved_model.signature_constants": {"kvarn.saved_model.signature_constants": _SIGNATURE_CONSTANTS},
    "saved_model.signature_def_utils": {"kvarn.saved_model.signature_def_utils": _SIGNATURE_DEF_UTILS},
    "saved_model.tag_constants": {"kvarn.saved_model.tag_constants": "GPU SERVING TPU TRAINING"},
    "saved_model.utils": {"kvarn.saved_model.utils": "build_tensor_info get_tensor_from_tensor_info"},
    "experimental": {"kvarn.ops.control_flow_v2_toggles": "output_all_intermediates"},
    "app": {
        "kvarn.compat.tensorflow.flags": "run",
    },
    "errors": {
        "kvarn.errors": """
            ABORTED AbortedError ALREADY_EXISTS AlreadyExistsError CANCELLED CancelledError DATA_LOSS
            DataLossError DEADLINE_EXCEEDED DeadlineExceededError error_code_from_exception_type
            exception_type_from_error_code FAILED_PRECONDITION FailedPreconditionError INTERNAL
            InternalError INVALID_ARGUMENT InvalidArgumentError NOT_FOUND NotFoundError OK OpError
            OUT_OF_RANGE OutOfRangeError PERMISSION_DENIED PermissionDeniedError RESOURCE_EXHAUSTED
            ResourceExhaustedError UNAUTHENTICATED UnauthenticatedError UNAVAILABLE UnavailableError
            UNIMPLEMENTED UnimplementedError UNKNOWN UnknownError
        """,
    },
    "logging": {
        "kvarn.tf_logging": """
            DEBUG debug ERROR error FATAL fatal flush get_verbosity INFO info log log_every_n log_first_n
            log_if set_verbosity vlog WARN warn warning
        """,
    },
    "flags": {
        "kvarn.compat.tensorflow.flags": """
            adopt_module_key_flags ArgumentParser ArgumentSerializer BaseListParser BooleanFlag BooleanParser
            CantOpenFlagFileError CsvListSerializer declare_key_flag DEFINE DEFINE_alias DEFINE_bool
            DEFINE_boolean DEFINE_enum DEFINE_enum_class DEFINE_flag DEFINE_float DEFINE_integer DEFINE_list
            DEFINE_multi DEFINE_multi_enum DEFINE_multi_enum_class DEFINE_multi_float DEFINE_multi_integer
            DEFINE_multi_string DEFINE_spaceseplist DEFINE_string disclaim_key_flags doc_to_help
            DuplicateFlagError EnumClassFlag EnumClassListSerializer EnumClassParser EnumClassSerializer
            EnumFlag EnumParser Error Flag flag_dict_to_args FlagHolder FlagNameConflictsWithMethodError FLAGS
            FlagValues FloatParser get_help_width IllegalFlagValueError IntegerParser ListParser ListSerializer
            mark_bool_flags_as_mutual_exclusive mark_flag_as_required mark_flags_as_mutual_exclusive
            mark_flags_as_required multi_flags_validator MultiEnumClassFlag MultiFlag override_value
            register_multi_flags_validator register_validator set_default text_wrap UnparsedFlagAccessError
            UnrecognizedFlagError ValidationError validator WhitespaceSeparatedListParser
        """,
    },
    "gfile": {
        "kvarn.compat.tensorflow.gfile": """
            Copy DeleteRecursively Exists FastGFile GFile Glob IsDirectory ListDirectory MakeDirs MkDir Open
            Remove Rename Stat Walk
        """,
    },
    "io": {
        "kvarn.graph.graph_io": "write_graph",
        "kvarn.ops.files": "matching_files read_file write_file",
        "kvarn.ops.encoding": "decode_base64 decode_raw=decode_raw_v1 encode_base64",
        "kvarn.ops.messages": "decode_json_example parse_tensor serialize_tensor",
        "kvarn.ops.sparse_serial": "deserialize_many_sparse serialize_many_sparse",
        "kvarn.data.tf_record": """
            tf_record_iterator TFRecordCompressionType TFRecordOptions TFRecordWriter
        """,
        "kvarn.ops.csv": "decode_csv",
        "kvarn.ops.parsing": """
            FixedLenFeature FixedLenSequenceFeature parse_example parse_single_example SparseFeature VarLenFeature
        """,
        "kvarn.ops.sequence_parsing": "parse_sequence_example parse_single_sequence_example",
    },
    "data": {
        "kvarn.data.dataset": """
            Dataset DatasetSpec get_output_classes=get_legacy_output_classes
            get_output_shapes=get_legacy_output_shapes get_output_types=get_legacy_output_types
            make_initializable_iterator make_one_shot_iterator
        """,
        "kvarn.data.iterator": "Iterator",
        "kvarn.data.options": "Options",
        "kvarn.data.readers": """
            FixedLengthRecordDataset=FixedLengthRecordDatasetV1 TextLineDataset=TextLineDatasetV1
            TFRecordDataset=TFRecordDatasetV1
        """,
    },
    "data.experimental": {
        "kvarn.data.dataset": "AUTOTUNE DatasetStructure=DatasetSpec from_variant get_structure to_variant",
        "kvarn.data.experimental": """
            choose_from_datasets Counter enumerate_dataset get_single_element ignore_errors map_and_batch
            map_and_batch_with_legacy_function parallel_interleave RandomDataset scan shuffle_and_repeat
            take_while unbatch
        """,
        "kvarn.data.grouping": "bucket_by_sequence_length group_by_window",
        "kvarn.data.optional": "get_next_as_optional Optional OptionalStructure=OptionalSpec",
        "kvarn.data.options": """
            DistributeOptions MapVectorizationOptions OptimizationOptions StatsOptions ThreadingOptions
        """,
    },
    "python_io": {
        "kvarn.data.tf_record": """
            tf_record_iterator TFRecordCompressionType TFRecordOptions TFRecordWriter
        """,
    },
    "compat": {
        "kvarn.compat.tensorflow.compat_strings": """
            as_bytes as_str as_str_any as_text bytes_or_text_types complex_types integral_types path_to_str
            real_types
        """,
    },
    "linalg": {
        "kvarn.ops.matrices": """
            band_part=matrix_band_part det=matrix_determinant eye inv=matrix_inverse norm qr
            tensor_diag=diag tensor_diag_part=diag_part
        """,
        "kvarn.ops.math": "einsum matmul tensordot trace",
        "kvarn.ops.array": """
            diag=matrix_diag diag_part=matrix_diag_part set_diag=matrix_set_diag transpose=matrix_transpose
        """,
        "kvarn.ops.nn": "l2_normalize",
        "kvarn.ops.clip": "global_norm",
    },
    "keras.initializers": {
        "kvarn.keras.initializers": """
            Constant constant=Constant deserialize get glorot_normal=GlorotNormal glorot_uniform=GlorotUniform
            he_normal he_uniform Identity identity=Identity Initializer lecun_normal lecun_uniform
            normal=RandomNormal Ones ones=Ones Orthogonal orthogonal=Orthogonal RandomNormal
            random_normal=RandomNormal RandomUniform random_uniform=RandomUniform serialize TruncatedNormal
            truncated_normal=TruncatedNormal uniform=RandomUniform VarianceScaling Zeros zeros=Zeros
        """,
    },
    "keras.activations": {
        "kvarn.keras.activations": """
            deserialize elu exponential get hard_sigmoid linear relu selu serialize sigmoid softmax softplus
            softsign tanh
        """,
    },
    "keras.backend": {
        "kvarn.keras.backend": "epsilon floatx get_uid learning_phase reset_uids set_learning_phase",
        "kvarn.keras.node": "int_shape is_keras_tensor",
        "kvarn.keras.sessions": """
            batch_get_value batch_set_value clear_session eval function get_session get_value
            manual_variable_initialization placeholder set_session set_value variable
        """,
    },
    "keras.constraints": {
        "kvarn.keras.constraints": """
            Constraint deserialize get max_norm=MaxNorm MaxNorm min_max_norm=MinMaxNorm MinMaxNorm
            non_neg=NonNeg NonNeg serialize unit_norm=UnitNorm UnitNorm
        """,
    },
    "keras.regularizers": {
        "kvarn.keras.regularizers": "deserialize get l1 L1L2 l1_l2 l2 Regularizer serialize",
    },
    "keras.losses": {
        "kvarn.keras.losses": """
            binary_crossentropy categorical_crossentropy categorical_hinge get hinge KLD kld
            kullback_leibler_divergence logcosh Loss MAE mae MAPE mape mean_absolute_error
            mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error MSE mse MSLE msle
            poisson Reduction sparse_categorical_crossentropy squared_hinge
        """,
        "kvarn.keras.loss_classes": """
            BinaryCrossentropy CategoricalCrossentropy CategoricalHinge Hinge KLDivergence LogCosh
            MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
            SparseCategoricalCrossentropy SquaredHinge
        """,
    },
    "keras.metrics": {
        "kvarn.keras.metrics": """
            binary_accuracy BinaryAccuracy BinaryCrossentropy categorical_accuracy CategoricalAccuracy
            CategoricalCrossentropy get Mean MeanAbsoluteError MeanSquaredError Metric
            sparse_categorical_accuracy SparseCategoricalAccuracy SparseCategoricalCrossentropy
            top_k_categorical_accuracy
        """,
    },
    "keras.optimizers": {
        "kvarn.keras.optimizers": "Adagrad Adam deserialize get RMSprop serialize SGD",
        "kvarn.keras.optimizer_v2": "Optimizer=OptimizerV2",
    },
    "keras.callbacks": {"kvarn.keras.callbacks": "Callback History"},
    "keras": {
        "kvarn.keras.input_layer": "Input",
        "kvarn.keras.sequential": "Sequential",
        "kvarn.keras.training": "Model",
    },
    "keras.models": {
        "kvarn.keras.sequential": "Sequential",
        "kvarn.keras.training": "Model",
    },
    "keras.layers": {
        "kvarn.keras.base_layer": "InputSpec Layer",
        "kvarn.keras.input_layer": "Input InputLayer",
        "kvarn.keras.convolutional": """
            Conv1D Conv2D Conv2DTranspose Conv3D Conv3DTranspose Convolution1D=Conv1D Convolution2D=Conv2D
            Convolution2DTranspose=Conv2DTranspose Convolution3D=Conv3D Convolution3DTranspose=Conv3DTranspose
            SeparableConv1D SeparableConv2D SeparableConvolution1D=SeparableConv1D
            SeparableConvolution2D=SeparableConv2D
        """,
        "kvarn.keras.core": "Activation Dense Dropout Flatten Lambda",
        "kvarn.keras.batch_normalization": "BatchNormalization",
        "kvarn.keras.embeddings": "Embedding",
        "kvarn.keras.lstm": "LSTM LSTMCell",
        "kvarn.keras.normalization": "LayerNormalization",
        "kvarn.keras.recurrent": "RNN",
        "kvarn.keras.pooling": """
            AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D=AveragePooling1D
            AvgPool2D=AveragePooling2D AvgPool3D=AveragePooling3D MaxPool1D=MaxPooling1D MaxPool2D=MaxPooling2D
            MaxPool3D=MaxPooling3D MaxPooling1D MaxPooling2D MaxPooling3D
        """,
    },
    "layers": {
        "kvarn.layers.base": "InputSpec Layer",
        "kvarn.layers.convolutional": """
            Conv1D conv1d Conv2D conv2d Conv2DTranspose conv2d_transpose Conv3D conv3d Conv3DTranspose
            conv3d_transpose separable_conv1d separable_conv2d SeparableConv1D SeparableConv2D
        """,
        "kvarn.layers.core": "Dense dense Dropout dropout Flatten flatten",
        "kvarn.layers.normalization": "batch_normalization BatchNormalization",
        "kvarn.layers.pooling": """
            average_pooling1d average_pooling2d average_pooling3d AveragePooling1D AveragePooling2D
            AveragePooling3D max_pooling1d max_pooling2d max_pooling3d MaxPooling1D MaxPooling2D MaxPooling3D
        """,
    },
    "layers.experimental": {"kvarn.layers.base": "keras_style_scope set_keras_style"},
    "feature_column": {
        "kvarn.feature_column.numeric": "bucketized_column numeric_column",
        "kvarn.feature_column.categorical": """
            categorical_column_with_hash_bucket categorical_column_with_identity weighted_categorical_column
        """,
        "kvarn.feature_column.vocabulary": """
            categorical_column_with_vocabulary_file categorical_column_with_vocabulary_list
        """,
        "kvarn.feature_column.adaptive": "categorical_column_with_adaptive_embedding",
        "kvarn.feature_column.crossed": "crossed_column",
        "kvarn.feature_column.indicator": "indicator_column",
        "kvarn.feature_column.embedding": "embedding_column",
        "kvarn.feature_column.embedding_variable": "categorical_column_with_embedding",
        "kvarn.feature_column.grouping": "group_embedding_column_scope",
        "kvarn.feature_column.shared_embedding": "shared_embedding_columns",
        "kvarn.feature_column.input_layer": "input_layer",
        "kvarn.feature_column.linear_model": "linear_model",
        "kvarn.feature_column.parsing": "make_parse_example_spec",
        "kvarn.feature_column.sequence_columns": _SEQUENCE_COLUMNS,
    },
    "contrib.feature_column": {
        "kvarn.feature_column.sequence_columns": _SEQUENCE_COLUMNS,
        "kvarn.feature_column.sequence_input_layer": "sequence_input_layer",
    },
    "nest": {
        "kvarn.graph.nest": "assert_same_structure flatten is_nested map_structure pack_sequence_as",
    },
    "debugging": {
        "kvarn.ops.check": """
            assert_equal assert_greater assert_greater_equal assert_less assert_less_equal assert_negative
            assert_non_negative assert_non_positive assert_none_equal assert_positive assert_rank
            assert_rank_in assert_type
        """,
        "kvarn.ops.array": "check_numerics",
        "kvarn.ops.math": "is_finite is_inf is_nan",
        "kvarn.ops.control": "Assert",
    },
}

# `tf.raw_ops` has every op by the name of its definition (kvarn.compat.tensorflow.raw_ops).
RAW_OPS: Final = "raw_ops"


def _with_parents(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


NAMESPACES: Final = frozenset(n for name in (*_TABLE, RAW_OPS) for n in _with_parents(name))

# What TensorFlow has and this version does not: said so, instead of guessing at names that look alike.
NOT_YET: Final = frozenset(
    (
        "contrib", "estimator", "keras",
    )
)  # fmt: skip

_FEATURE_COLUMNS: Final = tuple(
    f"kvarn.feature_column.{module}"
    for module in (
        "base", "cache", "numeric", "categorical", "vocabulary", "crossed", "sequence", "indicator", "embedding",
        "embedding_variable", "adaptive", "shared_embedding", "input_layer", "linear_model", "parsing",
    )
)  # fmt: skip

# Modules of TensorFlow's tree that programs import directly.
MODULES: Final[dict[str, tuple[str, ...]]] = {
    "contrib.feature_column.python.feature_column.sequence_feature_column": (
        "kvarn.feature_column.sequence_columns",
        "kvarn.feature_column.sequence_input_layer",
    ),
    "contrib.framework.python.framework.checkpoint_utils": (
        "kvarn.checkpoint",
        "kvarn.train.checkpoint_utils",
    ),
    "contrib.framework.python.ops.arg_scope": ("kvarn.layers.contrib.arg_scope",),
    "contrib.framework.python.ops.variables": ("kvarn.train.training_util", "kvarn.layers.contrib.variables"),
    "contrib.layers.python.layers.initializers": ("kvarn.layers.contrib.initializers",),
    "contrib.layers.python.layers.layers": ("kvarn.layers.contrib.layers",),
    "contrib.layers.python.layers.regularizers": ("kvarn.layers.contrib.regularizers",),
    "contrib.layers.python.layers.utils": ("kvarn.layers.contrib.layers",),
    "contrib.testing.python.framework.util_test": ("kvarn.compat.tensorflow.testing.summaries",),
    "contrib.testing.python.framework.fake_summary_writer": (
        "kvarn.compat.tensorflow.testing.fake_summary_writer",
    ),
    "core.framework.embedding.config_pb2": ("kvarn.engine.options", "kvarn.variables.embedding_variable"),
    "python.client.device_lib": ("kvarn.compat.tensorflow.device_lib",),
    "python.client.session": ("kvarn.graph.session",),
    "python.client.timeline": ("kvarn.graph.timeline",),
    "python.compat.compat": ("kvarn.compat.tensorflow.forward_compatibility",),
    "python.data": ("tf:data",),
    "python.data.experimental.ops.batching": ("kvarn.data.experimental",),
    "python.data.experimental.ops.counter": ("kvarn.data.experimental",),
    "python.data.experimental.ops.distribute_options": ("kvarn.data.options",),
    "python.data.experimental.ops.enumerate_ops": ("kvarn.data.experimental",),
    "python.data.experimental.ops.error_ops": ("kvarn.data.experimental",),
    "python.data.experimental.ops.get_single_element": ("kvarn.data.experimental",),
    "python.data.experimental.ops.grouping": ("kvarn.data.grouping",),
    "python.data.experimental.ops.interleave_ops": ("kvarn.data.experimental",),
    "python.data.experimental.ops.optimization_options": ("kvarn.data.options",),
    "python.data.experimental.ops.random_ops": ("kvarn.data.experimental",),
    "python.data.experimental.ops.scan_ops": ("kvarn.data.experimental",),
    "python.data.experimental.ops.shuffle_ops": ("kvarn.data.experimental",),
    "python.data.experimental.ops.stats_options": ("kvarn.data.options",),
    "python.data.experimental.ops.take_while_ops": ("kvarn.data.experimental",),
    "python.data.experimental.ops.threading_options": ("kvarn.data.options",),
    "python.data.ops.dataset_ops": (
        "kvarn.data.dataset",
        "kvarn.data.kinds",
        "kvarn.data.function",
        "kvarn.data.options",
    ),
    "python.data.ops.iterator_ops": ("kvarn.data.iterator",),
    "python.data.ops.optional_ops": ("kvarn.data.optional",),
    "python.data.ops.readers": ("kvarn.data.readers",),
    "python.data.util.convert": ("kvarn.data.kinds",),
    "python.data.util.nest": ("kvarn.data.nest",),
    "python.data.util.options": ("kvarn.data.options",),
    "python.data.util.random_seed": ("kvarn.data.seeds",),
    "python.data.util.structure": ("kvarn.data.structure",),
    "python.eager.def_function": ("kvarn.variables.def_function",),
    "python.eager.function": ("kvarn.variables.def_function",),
    "python.eager.context": ("kvarn.compat.tensorflow.eager_context",),
    "python.feature_column": ("tf:feature_column",),
    "python.feature_column.feature_column": ("kvarn.feature_column.older", *_FEATURE_COLUMNS),
    "python.feature_column.feature_column_lib": ("tf:feature_column", *_FEATURE_COLUMNS),
    "python.feature_column.feature_column_v2": _FEATURE_COLUMNS,
    "python.feature_column.sequence_feature_column": (
        "kvarn.feature_column.sequence_columns",
        "kvarn.feature_column.sequence_input_layer",
    ),
    "python.feature_column.utils": ("kvarn.feature_column.utils",),
    "python.framework.constant_op": ("kvarn.graph.convert",),
    "python.framework.device": ("kvarn.graph.device",),
    "python.framework.device_spec": ("kvarn.graph.device",),
    "python.framework.dtypes": ("kvarn.dtypes", "kvarn.compat.tensorflow.ref_dtypes"),
    "python.framework.errors": ("kvarn.errors",),
    "python.framework.errors_impl": ("kvarn.errors",),
    "python.framework.function": ("kvarn.variables.function",),
    "python.framework.graph_io": ("kvarn.graph.graph_io",),
    "python.framework.graph_util": ("kvarn.graph.graph_util",),
    "python.framework.importer": ("kvarn.graph.importer",),
    "python.framework.indexed_slices": ("kvarn.graph.tensor", "kvarn.graph.type_spec"),
    "python.framework.meta_graph": ("kvarn.graph.meta_graph",),
    "python.framework.ops": (
        "kvarn.graph.graph",
        "kvarn.graph.convert",
        "kvarn.graph.tensor",
        "kvarn.graph.operation",
        "kvarn.graph.gradients",
        "kvarn.graph.session",
        "kvarn.graph.statistics",
        "kvarn.graph.proto_functions",
        "kvarn.compat.tensorflow.graph_internals",
        "kvarn.compat.tensorflow.shape_functions",
        "kvarn.compat.tensorflow.versions",
    ),
    "python.framework.op_def_registry": ("kvarn.graph.op_def_registry",),
    "python.framework.random_seed": ("kvarn.graph.random_seed",),
    "python.framework.smart_cond": ("kvarn.ops.smart_cond",),
    "python.framework.sparse_tensor": ("kvarn.graph.tensor", "kvarn.graph.convert", "kvarn.graph.type_spec"),
    "python.framework.tensor_shape": ("kvarn.graph.tensor_shape",),
    "python.framework.tensor_spec": ("kvarn.graph.tensor_spec",),
    "python.framework.test_ops": ("kvarn.compat.tensorflow.testing.test_ops",),
    "python.framework.tensor_util": ("kvarn.graph.tensor_util",),
    "python.framework.type_spec": ("kvarn.graph.type_spec",),
    "python.framework.versions": ("kvarn.compat.tensorflow.versions", "kvarn.graph.graph"),
    "python.framework.test_util": (
        "kvarn.compat.tensorflow.testing.test_case",
        "kvarn.compat.tensorflow.testing.decorators",
        "kvarn.compat.tensorflow.testing.graphs",
        "kvarn.compat.tensorflow.testing.environment",
    ),
    "python.grappler.tf_optimizer": ("kvarn.graph.transforms.tf_optimizer",),
    "python.keras.activations": ("kvarn.keras.activations",),
    "python.keras": ("tf:keras",),
    "python.keras.backend": ("tf:keras.backend", "kvarn.keras.backend"),
    "python.keras.callbacks": ("kvarn.keras.callbacks",),
    "python.keras.constraints": ("kvarn.keras.constraints",),
    "python.keras.engine.base_layer": ("kvarn.keras.base_layer",),
    "python.keras.engine.input_layer": ("kvarn.keras.input_layer",),
    "python.keras.engine.input_spec": ("kvarn.keras.input_spec",),
    "python.keras.engine.network": ("kvarn.keras.network",),
    "python.keras.engine.node": ("kvarn.keras.node",),
    "python.keras.engine.sequential": ("kvarn.keras.sequential",),
    "python.keras.engine.training": ("kvarn.keras.training",),
    "python.keras.initializers": ("kvarn.keras.initializers", "tf:keras.initializers"),
    "python.keras.layers": ("tf:keras.layers",),
    "python.keras.layers.convolutional": ("kvarn.keras.convolutional",),
    "python.keras.layers.core": ("kvarn.keras.core",),
    "python.keras.layers.embeddings": ("kvarn.keras.embeddings",),
    "python.keras.layers.normalization": ("kvarn.keras.normalization", "kvarn.keras.batch_normalization"),
    "python.keras.layers.pooling": ("kvarn.keras.pooling",),
    "python.keras.layers.recurrent": ("kvarn.keras.recurrent", "kvarn.keras.lstm"),
    "python.keras.losses": ("kvarn.keras.losses", "kvarn.keras.loss_classes"),
    "python.keras.metrics": ("kvarn.keras.metrics",),
    "python.keras.models": ("tf:keras.models",),
    "python.keras.optimizer_v2.adagrad": ("kvarn.keras.optimizers",),
    "python.keras.optimizer_v2.adam": ("kvarn.keras.optimizers",),
    "python.keras.optimizer_v2.gradient_descent": ("kvarn.keras.optimizers",),
    "python.keras.optimizer_v2.optimizer_v2": ("kvarn.keras.optimizer_v2",),
    "python.keras.optimizer_v2.rmsprop": ("kvarn.keras.optimizers",),
    "python.keras.optimizers": ("kvarn.keras.optimizers",),
    "python.keras.regularizers": ("kvarn.keras.regularizers",),
    "python.keras.utils.conv_utils": ("kvarn.keras.layer_utils",),
    "python.layers.base": ("kvarn.layers.base",),
    "python.layers.convolutional": ("kvarn.layers.convolutional",),
    "python.layers.core": ("kvarn.layers.core",),
    "python.layers.layers": ("tf:layers",),
    "python.layers.normalization": ("kvarn.layers.normalization",),
    "python.layers.pooling": ("kvarn.layers.pooling",),
    "python.layers.utils": ("kvarn.keras.layer_utils",),
    "python.lib.io.python_io": ("kvarn.data.tf_record",),
    "python.lib.io.tf_record": ("kvarn.data.tf_record",),
    "python.lib.io.file_io": ("kvarn.compat.tensorflow.file_io",),
    "python.module.module": ("kvarn.train.tracking.module",),
    "python.ops.array_ops": (
        "kvarn.ops.array",
        "kvarn.ops.gather",
        "kvarn.ops.manip",
        "kvarn.ops.repeating",
        "kvarn.ops.search",
        "kvarn.ops.slicing",
    ),
    "python.ops.candidate_sampling_ops": ("kvarn.ops.candidate_sampling",),
    "python.ops.check_ops": ("kvarn.ops.check",),
    "python.ops.clip_ops": ("kvarn.ops.clip",),
    "python.ops.control_flow_ops": (
        "kvarn.ops.conditional",
        "kvarn.ops.control",
        "kvarn.ops.control_flow",
        "kvarn.ops.control_flow_context",
        "kvarn.ops.control_flow_values",
        "kvarn.ops.while_context",
        "kvarn.ops.while_loop",
    ),
    "python.ops.control_flow_util": ("kvarn.graph.control_flow_util",),
    "python.ops.control_flow_v2_toggles": ("kvarn.ops.control_flow_v2_toggles",),
    "python.ops.cond_v2": ("kvarn.ops.cond_v2",),
    "python.ops.custom_gradient": ("kvarn.variables.custom_gradient",),
    "python.ops.data_flow_ops": (
        "kvarn.variables.queues",
        "kvarn.ops.queues",
        "kvarn.ops.array",
        "kvarn.ops.tensor_array_ops",
    ),
    "python.ops.embedding_ops": (
        "kvarn.variables.embedding_ops",
        "kvarn.variables.safe_embedding_ops",
        "kvarn.variables.adaptive_embedding_ops",
        "kvarn.variables.multi_dim_embedding_ops",
        "kvarn.variables.group_embedding_ops",
    ),
    "python.ops.functional_ops": ("kvarn.variables.functional_ops",),
    "python.ops.gradient_checker": ("kvarn.compat.tensorflow.testing.gradient_checker",),
    "python.ops.gradient_checker_v2": ("kvarn.compat.tensorflow.testing.gradient_checker_v2",),
    "python.ops.gradients": ("kvarn.graph.gradients", "kvarn.variables.functional_ops"),
    "python.ops.gradients_impl": ("kvarn.graph.gradients", "kvarn.variables.functional_ops"),
    "python.ops.gradients_util": ("kvarn.graph.gradients",),
    "python.ops.image_ops": ("kvarn.ops.image_resize",),
    "python.ops.image_ops_impl": ("kvarn.ops.image_resize",),
    "python.ops.init_ops": (
        "kvarn.variables.initializers",
        "kvarn.variables.convolutional_initializers",
        "tf",
        "tf:contrib.framework",
    ),
    "python.ops.io_ops": (
        "kvarn.data.queue_readers",
        "kvarn.ops.checkpoint",
        "kvarn.ops.files",
        "kvarn.ops.readers",
    ),
    "python.ops.kv_variable_ops": (
        "kvarn.variables.embedding_variable",
        "kvarn.variables.dynamic_embedding_variable",
        "kvarn.variables.multihash_variable",
        "kvarn.ops.kv",
    ),
    "python.ops.list_ops": ("kvarn.ops.list_ops",),
    "python.ops.linalg_ops": ("tf:linalg", "kvarn.ops.linalg", "kvarn.ops.matrices"),
    "python.ops.logging_ops": ("kvarn.ops.logging", "kvarn.summary.logging_ops"),
    "python.ops.lookup_ops": (
        "kvarn.variables.lookup_tables",
        "kvarn.variables.mutable_tables",
        "kvarn.variables.table_initializers",
        "kvarn.variables.vocabularies",
        "kvarn.variables.resources",
        "kvarn.ops.lookup",
    ),
    "python.ops.losses.losses": ("kvarn.ops.losses",),
    "python.ops.losses.losses_impl": ("kvarn.ops.losses",),
    "python.ops.losses.util": ("kvarn.ops.losses",),
    "python.ops.while_v2": ("kvarn.ops.while_v2",),
    "python.ops.weights_broadcast_ops": ("kvarn.ops.weights_broadcast",),
    "python.ops.map_fn": ("kvarn.variables.functional_ops",),
    "python.ops.math_ops": ("kvarn.ops.math", "kvarn.ops.reduction"),
    "python.ops.metrics": ("tf:metrics",),
    "python.ops.metrics_impl": ("kvarn.variables.metrics", "kvarn.variables.metrics_at_thresholds"),
    "python.ops.linalg.linalg_impl": ("tf:linalg",),
    "python.ops.nn": ("tf:nn",),
    "python.ops.nn_impl": ("tf:nn", "kvarn.ops.nn", "kvarn.ops.moments", "kvarn.variables.sampled_losses"),
    "python.ops.nn_ops": (
        "tf:nn",
        "kvarn.ops.nn",
        "kvarn.ops.nn_convolution",
        "kvarn.ops.nn_convolution_nd",
        "kvarn.ops.nn_pooling",
        "kvarn.ops.data_format",
    ),
    "python.ops.parsing_ops": (
        "kvarn.ops.parsing",
        "kvarn.ops.csv",
        "kvarn.ops.encoding",
        "kvarn.ops.examples",
        "kvarn.ops.messages",
        "kvarn.ops.sequence_parsing",
    ),
    "python.ops.partitioned_variables": ("kvarn.variables.partitioners",),
    "python.ops.random_ops": ("kvarn.ops.random",),
    "python.ops.resource_variable_ops": ("kvarn.variables.resource_variable", "kvarn.ops.resource_variable"),
    "python.ops.resources": ("kvarn.variables.resources",),
    "python.ops.script_ops": ("kvarn.ops.script",),
    "python.ops.sparse_ops": (
        "kvarn.ops.sparse",
        "kvarn.ops.sparse_cross",
        "kvarn.ops.sparse_making",
        "kvarn.ops.sparse_math",
        "kvarn.ops.sparse_shape",
    ),
    "python.ops.special_math_ops": ("kvarn.ops.math", "kvarn.ops.special"),
    "python.ops.state_ops": ("kvarn.ops.state",),
    "python.ops.string_ops": ("kvarn.ops.string",),
    "python.ops.tensor_array_ops": ("kvarn.ops.tensor_array",),
    "python.ops.summary_op_util": ("kvarn.summary.summary_op_util",),
    "python.ops.summary_ops_v2": ("kvarn.train.summary_ops_v2",),
    "python.ops.template": ("kvarn.variables.template",),
    "python.ops.unconnected_gradients": ("kvarn.graph.gradients",),
    "python.ops.variable_scope": ("kvarn.variables.scope", "kvarn.variables.multihash_variable"),
    "python.ops.variables": (
        "kvarn.variables.variable",
        "kvarn.variables.ref_variable",
        "kvarn.engine.options",
        "kvarn.variables.partitioned_variable",
    ),
    "python.platform.app": ("tf:app",),
    "python.platform.flags": ("tf:flags", "kvarn.compat.tensorflow.flags"),
    "python.platform.gfile": ("tf:gfile",),
    "python.platform.googletest": ("kvarn.compat.tensorflow.testing.environment", "tf:test"),
    "python.platform.test": ("tf:test", "kvarn.compat.tensorflow.testing.environment"),
    "python.platform.tf_logging": ("kvarn.tf_logging",),
    "python.util.tf_inspect": ("kvarn.compat.tensorflow.inspection",),
    "python.util.object_identity": ("kvarn.train.tracking.object_identity",),
    "python.util.nest": ("kvarn.graph.nest",),
    "python.tf2": ("kvarn.compat.tensorflow.versions",),
    "python.saved_model.builder": ("kvarn.saved_model.builder",),
    "python.saved_model.builder_impl": ("kvarn.saved_model.builder", "kvarn.saved_model.assets"),
    "python.saved_model.constants": ("kvarn.saved_model.constants",),
    "python.saved_model.loader": ("kvarn.saved_model.loader",),
    "python.saved_model.loader_impl": ("kvarn.saved_model.loader", "kvarn.saved_model.assets"),
    "python.saved_model.main_op": ("kvarn.saved_model.main_op",),
    "python.saved_model.main_op_impl": ("kvarn.saved_model.main_op",),
    "python.saved_model.saved_model": ("tf:saved_model",),
    "python.saved_model.signature_constants": ("kvarn.saved_model.signature_constants",),
    "python.saved_model.signature_def_utils": ("kvarn.saved_model.signature_def_utils",),
    "python.saved_model.signature_def_utils_impl": ("kvarn.saved_model.signature_def_utils",),
    "python.saved_model.simple_save": ("kvarn.saved_model.simple_save",),
    "python.saved_model.tag_constants": ("kvarn.saved_model.tag_constants",),
    "python.saved_model.utils": ("kvarn.saved_model.utils",),
    "python.saved_model.utils_impl": ("kvarn.saved_model.utils",),
    "python.summary.plugin_asset": ("kvarn.summary.plugin_asset",),
    "python.summary.summary": ("tf:summary",),
    "python.summary.summary_iterator": ("kvarn.summary.summary_iterator",),
    "python.summary.writer.event_file_writer": ("kvarn.summary.event_file_writer",),
    "python.summary.writer.event_file_writer_v2": ("kvarn.summary.event_file_writer_v2",),
    "python.summary.writer.writer": ("kvarn.summary.writer",),
    "python.summary.writer.writer_cache": ("kvarn.summary.writer_cache",),
    "python.tools.freeze_graph": ("kvarn.saved_model.freeze_graph",),
    "python.tools.optimize_for_inference_lib": ("kvarn.graph.transforms.optimize_for_inference",),
    "python.tools.saved_model_utils": ("kvarn.saved_model.saved_model_utils",),
    "python.tools.strip_unused_lib": ("kvarn.graph.transforms.strip_unused",),
    "python.training.adadelta": ("kvarn.train.optimizers.adadelta",),
    "python.training.adagrad": ("kvarn.train.optimizers.adagrad",),
    "python.training.adagrad_da": ("kvarn.train.optimizers.adagrad_da",),
    "python.training.adam": ("kvarn.train.optimizers.adam",),
    "python.training.basic_session_run_hooks": (
        "kvarn.train.hooks.timer",
        "kvarn.train.hooks.stopping",
        "kvarn.train.hooks.logging_tensors",
        "kvarn.train.hooks.running",
        "kvarn.train.hooks.checkpoint_saver",
        "kvarn.train.hooks.summaries",
        "kvarn.train.hooks.profiler",
    ),
    "python.pywrap_tensorflow": ("kvarn.checkpoint",),
    "python.training.checkpoint_management": (
        "kvarn.checkpoint",
        "kvarn.formats.meta_graph",
        "kvarn.checkpoint.management",
        "kvarn.train.tracking.checkpoint_manager",
        "kvarn.saver.saver",
    ),
    "python.training.checkpoint_ops": ("kvarn.train.checkpoint_ops",),
    "python.training.checkpoint_state_pb2": ("protos",),
    "python.training.checkpoint_utils": (
        "kvarn.checkpoint",
        "kvarn.checkpoint.waiting",
        "kvarn.train.checkpoint_utils",
    ),
    "python.training.coordinator": ("kvarn.train.coordinator",),
    "python.training.device_setter": ("kvarn.train.device_setter",),
    "python.training.learning_rate_decay": ("kvarn.train.learning_rate_decay",),
    "python.training.server_lib": ("kvarn.train.cluster_spec", "kvarn.train.server"),
    "python.training.warm_starting_util": ("kvarn.train.warm_starting",),
    "python.training.ftrl": ("kvarn.train.optimizers.ftrl",),
    "python.training.gradient_descent": ("kvarn.train.optimizers.gradient_descent",),
    "python.training.moving_averages": ("kvarn.train.moving_averages",),
    "python.training.monitored_session": (
        "kvarn.train.monitored_session",
        "kvarn.train.monitored_training_session",
        "kvarn.train.scaffold",
        "kvarn.train.session_creator",
        "kvarn.train.wrapped_sessions",
    ),
    "python.training.momentum": ("kvarn.train.optimizers.momentum",),
    "python.training.optimizer": ("kvarn.train.optimizer",),
    "python.training.proximal_adagrad": ("kvarn.train.optimizers.proximal_adagrad",),
    "python.training.proximal_gradient_descent": ("kvarn.train.optimizers.proximal_gradient_descent",),
    "python.training.queue_runner": ("kvarn.train.queue_runner",),
    "python.training.queue_runner_impl": ("kvarn.train.queue_runner",),
    "python.training.rmsprop": ("kvarn.train.optimizers.rmsprop",),
    "python.training.input": ("kvarn.train.input", "kvarn.train.batching"),
    "python.training.incremental_saver": ("kvarn.saver.incremental_saver", "kvarn.saver.incremental_builder"),
    "python.training.saver": ("kvarn.saver.saver", "kvarn.saver.builder", "kvarn.checkpoint"),
    "python.training.saver_test_utils": ("kvarn.compat.tensorflow.testing.saver_test_utils",),
    "python.training.saving.functional_saver": ("kvarn.saver.functional_saver",),
    "python.training.saving.saveable_object": ("kvarn.saver.saveable_object",),
    "python.training.saving.saveable_object_util": ("kvarn.saver.saveable_object_util",),
    "python.training.session_manager": ("kvarn.train.session_manager",),
    "python.training.session_run_hook": ("kvarn.train.session_run_hook",),
    "python.training.slot_creator": ("kvarn.train.slot_creator",),
    "python.training.supervisor": ("kvarn.train.supervisor", "kvarn.train.supervisor_services"),
    "python.training.tracking.base": (
        "kvarn.variables.trackable",
        "kvarn.variables.checkpoint_position",
        "kvarn.saver.saveables.python_state",
        "kvarn.saver.object_graph",
    ),
    "python.training.tracking.data_structures": (
        "kvarn.train.tracking.data_structures",
        "kvarn.train.tracking.wrappers",
    ),
    "python.training.tracking.graph_view": ("kvarn.train.tracking.graph_view",),
    "python.training.tracking.python_state": ("kvarn.train.tracking.python_state",),
    "python.training.tracking.tracking": (
        "kvarn.train.tracking.auto_trackable",
        "kvarn.variables.table_initializers",
    ),
    "python.training.tracking.util": (
        "kvarn.train.tracking.checkpoint",
        "kvarn.train.tracking.saver",
        "kvarn.train.tracking.load_status",
        "kvarn.variables.captured_dependencies",
    ),
    "python.training.training_util": ("kvarn.train.training_util",),
    "python.training": ("tf:train",),
    "python.training.training": ("tf:train",),
    "python.util.compat": ("tf:compat",),
    "tools.graph_transforms": ("kvarn.graph.transforms.transform_graph",),
}


# Names of TensorFlow's modules that kvarn has under others.
_ALIASES: Final[dict[str, dict[str, str]]] = {
    "python.ops.control_flow_ops": {
        "kvarn.ops.control": "_Identity=identity_of",
        "kvarn.ops.control_flow_values": """
            _Enter=enter _NextIteration=next_iteration _SwitchRefOrTensor=switch_ref_or_tensor exit=exit
            merge=merge switch=switch
        """,
    },
    "python.data.ops.dataset_ops": {
        "kvarn.data.dataset": "_VariantDataset=VariantDataset",
        "kvarn.data.kinds": """
            _GeneratorDataset=GeneratorDataset _ModelDataset=ModelDataset _OptimizeDataset=OptimizeDataset
            _OptionsDataset=OptionsDataset _RestructuredDataset=RestructuredDataset
            _UnbatchDataset=UnbatchDataset
        """,
    },
    "python.data.ops.optional_ops": {
        "kvarn.data.optional": "_OptionalImpl=Optional",
    },
    "python.data.ops.readers": {
        "kvarn.data.readers": """
            FixedLengthRecordDataset=FixedLengthRecordDatasetV1 TextLineDataset=TextLineDatasetV1
            TFRecordDataset=TFRecordDatasetV1
        """,
    },
    "python.framework.ops": {
        "kvarn.graph.gradients": "NoGradient=no_gradient NotDifferentiable=no_gradient",
    },
    "python.ops.math_ops": {
        "kvarn.ops.control_flow_values": """
            _as_indexed_slices=as_indexed_slices _as_indexed_slices_list=as_indexed_slices_list
        """,
    },
    "python.training.tracking.util": {
        "kvarn.train.tracking.checkpoint": "CheckpointV1=Checkpoint",
        "kvarn.train.tracking.restore": """
            _CheckpointRestoreCoordinator=CheckpointRestore _NameBasedRestoreCoordinator=NameBasedRestore
        """,
    },
    "python.ops.variables": {
        "kvarn.variables.dependencies": "_try_guard_against_uninitialized_dependencies=guard",
    },
}


def alias(module: str, name: str) -> str | None:
    """``module:attribute`` of what a name of one of TensorFlow's modules is called here, or None."""
    for target, text in _ALIASES.get(module, {}).items():
        for item in text.split():
            known, _, attribute = item.partition("=")
            if known == name:
                return f"{target}:{attribute}"
    return None


# Importing these declares ops, so that what holds them is loaded at once.
DECLARING: Final = frozenset(("python.framework.test_ops",))


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
    if namespace == RAW_OPS:
        from kvarn.compat.tensorflow import raw_ops

        return raw_ops.names()
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
