"""TF-MOT's own tests, on Keras 3 and kdzoo; of what they may fail, and why, there is a table.

    KDZOO_TFMOT_TESTS=path/of/a/checkout .venv/bin/python -m pytest -m large THIS_FILE

The checkout is one of github.com/tensorflow/model-optimization; its wheel does not hold the tests.
"""

import fnmatch
import functools
import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
CHECKOUT = os.environ.get("KDZOO_TFMOT_TESTS")

OWN_LAYERS = "Layers of one's own cannot be cloned in tf_keras and are refused."
UNBUILT = "A sequential model without an input shape is refused as a whole."
WRAPPERS = "Looks into the wrapper of a single layer, which is kdzoo's, around a copy of the layer."
ONLY_WHAT_IS_COMPRESSED = (
    "Counts wrappers around layers without weights; here those are not wrapped."
)
MESSAGES = "Expects a sentence, or a class of error, of TF-MOT's."
NOT_PRUNED = "Trains a plain model with `UpdatePruningStep`, which is refused as a mistake."
NOTHING_TO_DO = "A layer or model in which nothing can be compressed is refused."
NOT_THERE = "Not there, as the page says."
OTHER_LAYERS = "Compares the configuration of a Keras 3 layer with that of a tf_keras layer."
SEPARABLE = "A `SeparableConv1D` is not quantized."
COPIES = "Expects that the model that was passed is changed too; it is copied."
MARKED = "Expects a mark around each layer; here the model as a whole is marked."
KERAS_2 = "Keras 3 has no such layer, argument or attribute."
FILES = "Keras 3 writes no SavedModel or TensorFlow checkpoint from `save`."
H5 = "Keras 3 writes the configuration into `.h5` files in another form, of any model."
PARTLY = "Keras 3 loads no weights of a plain model into a pruned one."
GRAPHS = "Keras 3 has no graph mode of TensorFlow 1."
INTERNALS = "Calls a class as only TF-MOT's own code does."

COLLABORATIVE = "quantization/keras/collab_opts/cluster_preserve"

# File -> name of a test, `*` for any characters -> why it fails.
DIFFERENCES = {
    "sparsity/keras/prune_test.py": {
        "PruneTest.testPruneCustomPrunableLayer": OWN_LAYERS,
        "PruneTest.testPruneFunctionalModel": ONLY_WHAT_IS_COMPRESSED,
        "PruneTest.testPruneKerasNonPrunableLayer": WRAPPERS,
        "PruneTest.testPruneKerasPrunableLayer": WRAPPERS,
        "PruneTest.testPruneMiscObject": MESSAGES,
        "PruneTest.testPruneModelDoesNotWrapAlreadyWrappedLayer": UNBUILT,
        "PruneTest.testPruneModelValidLayersSuccessful": UNBUILT,
        "PruneTest.testPruneSequentialModel": UNBUILT,
        "PruneTest.testPruneSequentialModelPreservesBuiltState": UNBUILT,
        "PruneTest.testPruneSubclassModel": MESSAGES,
        "PruneTest.testPruneValidLayersListSuccessful": OWN_LAYERS,
        "PruneTest.testStripPruningSequentialModel": UNBUILT,
    },
    "sparsity/keras/prune_integration_test.py": {
        "PruneIntegrationTest.testMbyNSparsityPruning_*DepthwiseConv_2by4": NOTHING_TO_DO,
        "PruneIntegrationTest.testPruneCheckpoints_CheckpointsNotSparse": FILES,
        "PruneIntegrationTest.testPrunePretrainedModel_PreservesWeightObjects": COPIES,
        "PruneIntegrationTest.testPruneRecursivelyReachesTargetSparsity": NOT_PRUNED,
        "PruneIntegrationTest.testPruneThenLoadTFWeights_*": PARTLY,
        "PruneIntegrationTest.testPrunesSingleLayer_ReachesTargetSparsity[78]": KERAS_2,
        "PruneIntegrationTest.testSparsityPruningMbyN_SupportedSubclassLayers": NOT_PRUNED,
    },
    "sparsity/keras/pruning_callbacks_test.py": {
        "PruneCallbacksTest.testPruneTraining*PruningStepCallbackMissing*": MESSAGES,
    },
    "sparsity/keras/pruning_schedule_test.py": {},
    "sparsity/keras/pruning_policy_test.py": {
        "PruningPolicyTest.testFunctionalModelForLatencyOnXNNPackPolicy": OWN_LAYERS,
        "PruningPolicyTest.testFunctionalModelNoPruningLayers*": NOTHING_TO_DO,
        "PruningPolicyTest.testFunctionalModelWithTFOps*": KERAS_2,
        "PruningPolicyTest.testPruneSequentialModel*": MESSAGES,
    },
    "clustering/keras/cluster_test.py": {
        "ClusterTest.testClusterCustomClusterableLayer": WRAPPERS,
        "ClusterTest.testClusterCustomClusterableLayerWithSparsityPreservation": OWN_LAYERS,
        "ClusterTest.testClusterCustomNonClusterableLayer": INTERNALS,
        "ClusterTest.testClusterFunctionalModel": ONLY_WHAT_IS_COMPRESSED,
        "ClusterTest.testClusterKerasClusterableLayer*": WRAPPERS,
        "ClusterTest.testClusterKerasCustomLayer": INTERNALS,
        "ClusterTest.testClusterKerasNonClusterableLayer": WRAPPERS,
        "ClusterTest.testCluster*KerasUnsupportedLayer": KERAS_2,
        "ClusterTest.testClusterModelDoesNotWrapAlreadyWrappedLayer": UNBUILT,
        "ClusterTest.testClusterModelUnsupportedKerasLayerRaisesError": KERAS_2,
        "ClusterTest.testClusterModelValidLayersSuccessful*": UNBUILT,
        "ClusterTest.testClusterMyClusterableLayer": INTERNALS,
        "ClusterTest.testClusterSequentialModel*NoInput": UNBUILT,
        "ClusterTest.testClusterSubclassModelAsSubmodel": UNBUILT,
        "ClusterTest.testClusterValidLayersListSuccessful": WRAPPERS,
        "ClusterTest.testConv[123]D*Layer": WRAPPERS,
        "ClusterTest.testDenseLayer": WRAPPERS,
        "ClusterTest.testDepthwiseConv2DLayerNonClusterable": WRAPPERS,
        "ClusterTest.testKerasCustomLayerClusterable": INTERNALS,
        "ClusterTest.testStripClusteringSequentialModelWithActivityRegularizer": NOT_THERE,
    },
    "clustering/keras/cluster_integration_test.py": {
        "ClusterIntegrationTest.testEndToEnd1x1Conv2d[0123]": MESSAGES,
        "ClusterIntegrationTest.testEndToEndConv1DAndConv1DTranspose": KERAS_2,
        "ClusterIntegrationTest.testEndToEndDeepLayer*": KERAS_2,
        "ClusterRNNIntegrationTest.testClusterBidirectional": COPIES,
        "ClusterRNNIntegrationTest.testClusterStackedRNNCells": COPIES,
    },
    "quantization/keras/quantize_test.py": {
        "FixInputOutputRangeTest.*": NOT_THERE,
        "QuantizeAnnotateTest.testQuantizeAnnotateModel": MARKED,
        "QuantizeAnnotateTest.testQuantizeAnnotateModel_HasAnnotatedLayers": MARKED,
        "QuantizeAnnotateTest.testQuantizeAnnotateModel_SkipsLambda": MARKED,
        "QuantizeApplyTest.testAppliesQuantizationTo*AnnotatedModel_*al": OTHER_LAYERS,
        "QuantizeApplyTest.testQuantizeApply_KeepTrainableWeightOrder": OWN_LAYERS,
        "QuantizeApplyTest.testQuantizeCustomLayerWithoutQuantizeScope_RaisesError": MESSAGES,
        "QuantizeApplyTest.testQuantize_PreferenceToUserSpecifiedQuantizeConfig": OTHER_LAYERS,
        "QuantizeApplyTest.testQuantize_RaisesErrorIfNoQuantizeConfig": MESSAGES,
        "QuantizeApplyTest.testQuantize_UsesBuiltinQuantizeConfig": OTHER_LAYERS,
        "QuantizeApplyTest.testQuantize_UsesQuantizeConfigFromUser_NoBuiltIn": OWN_LAYERS,
    },
    "quantization/keras/quantize_annotate_test.py": {
        "QuantizeAnnotateTest.testAnnotateLayerCallPassesTraningBoolean": INTERNALS,
    },
    "quantization/keras/quantizers_test.py": {},
    "quantization/keras/default_8bit/quantize_numerical_test.py": {
        "QuantizeNumericalTest.testModelEndToEnd[789]": SEPARABLE,
    },
    "quantization/keras/quantize_integration_test.py": {
        "*_test_mode_graph": GRAPHS,
        "QuantizeIntegrationTest.testSerialization_KerasModel_test_mode_eager": H5,
        "QuantizeIntegrationTest.testSerialization_SavedModel_test_mode_eager": FILES,
    },
    "quantization/keras/quantize_functional_test.py": {},
    "sparsity/keras/prune_distributed_test.py": {},
    "clustering/keras/cluster_distributed_test.py": {
        "ClusterDistributedTest.testAssociationValuesPerReplica0": INTERNALS,
    },
    "clustering/keras/mnist_clustering_test.py": {},
    "clustering/keras/mnist_clusterable_layer_test.py": {"FunctionalTest.testMnist*": OWN_LAYERS},
    f"{COLLABORATIVE}/mnist_prune_cluster_preserve_qat_test.py": {},
    f"{COLLABORATIVE}/cluster_preserve_integration_test.py": {
        "ClusterPreserveIntegrationTest.testEndToEndPCQATClusteredPerChannelConv2d1x1": MESSAGES,
    },
}


@functools.cache
def outcomes(file):
    """Runs a test file in a process of its own: name of a test -> what it raised, or ""."""
    command = [sys.executable, HERE / "tfmot_suite.py", CHECKOUT, file]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, check=False, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.large
@pytest.mark.skipif(not CHECKOUT, reason="KDZOO_TFMOT_TESTS names no checkout of TF-MOT.")
@pytest.mark.parametrize("file", DIFFERENCES)
def test_what_fails_is_different_on_purpose(file):
    found, expected = outcomes(file), DIFFERENCES[file]
    assert found
    failed = {name: raised for name, raised in found.items() if raised}
    unexpected = {
        name: raised
        for name, raised in failed.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in expected)
    }
    assert not unexpected
    passed = [pattern for pattern in expected if not fnmatch.filter(failed, pattern)]
    assert not passed, "These pass: take them out of the table."
