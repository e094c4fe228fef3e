"""Families of models that share most of their code: each against plain transformers.

The equations of whole models in double precision, effects of single components and edges against
the naive oracles, and checkpoints in every format that transformers saves.
"""

from __future__ import annotations

import dataclasses
import shutil
from functools import cache

import numpy as np
import pytest
import torch
import transformers
from support.circuit_oracle import oracle_circuit
from support.counting import counted
from support.edge_oracle import oracle_edges
from support.families import FAMILIES
from support.models import decoder, ragged_prompts, random_model, random_prompts
from support.oracle import close, oracle_influence
from torch.nn.attention import SDPBackend, sdpa_kernel

import cntbench
from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import cosine, relative_l2
from cntbench.ablations.replacements import mean, noise, resample, zero
from cntbench.engine.circuit import circuit_readouts, edges_of
from cntbench.engine.influence import influence, statistics_of
from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.errors import CheckpointError, CntbenchError, SpecError
from cntbench.models import checkpoint_files
from cntbench.models.adapters import adapter
from cntbench.models.config_values import beginning, check_values
from cntbench.models.in_memory import read_model
from cntbench.readouts import known_readouts
from cntbench.specs import HEAD_INPUTS

TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 7, 1, 8, 2, 8, 1, 8, 16]])
READOUT = {"scope": "direct", "observable": "readout"}
RESAMPLE = resample.Parameters(donor="reference")

#: Families that together have every part that is new on the way back.
PARTS = ["qwen3", "olmo3", "gemma2"]
MIXTURES = ["olmoe", "qwen3_moe"]
every_family = pytest.mark.parametrize("family", FAMILIES)
#: Single edges know no family, only parts.
every_part = pytest.mark.parametrize("family", [*PARTS, *MIXTURES, "gptj"])


@pytest.fixture(autouse=True)
def _reference_in_double_precision(request):
    if "gptj" in request.node.name and transformers.__version__ < "5.24":
        pytest.skip("transformers before 5.24 rotates GPT-J's heads in single precision")


@cache
def model(family, heads=2):
    """A random model whose heads share keys two by two, if the family's do."""
    return random_model(family, heads=heads, width=4, mlp=6, dtype=torch.float64)


@every_family
def test_logits_are_those_of_transformers(family):
    known = random_model(family, layers=3, heads=4, width=6, dtype=torch.float64)
    with torch.no_grad():
        expected = known(TOKENS).logits
    torch.testing.assert_close(decoder(known).logits(TOKENS), expected, rtol=1e-10, atol=1e-10)


@every_family
def test_total_effects_equal_the_oracle(family):
    prompts = ragged_prompts(count=2, longest=6)
    rules = [zero.Parameters(), mean.Parameters(population="clean", over=("prompt",))]
    ablations = [
        Ablation("zero", rules[0], relative_l2.measure),
        Ablation("mean", rules[1], cosine.measure),
    ]
    names = known_readouts()
    request = Request(decoder(model(family)), prompts, ablations, effects=names, readouts=names)
    result = influence(request)
    for i, (rule, measure) in enumerate(zip(rules, ("relative_l2", "cosine"), strict=True)):
        name = ablations[i].name
        expected, values, effects = oracle_influence(
            model(family), prompts, rule, measure, name=name
        )
        close(result.influence[i], expected, atol=1e-7 if i else 1e-10)
        close(result.readout_value, values)
        close(result.readout_effect[i], effects)


@every_part
@pytest.mark.parametrize("through", [("query", "key", "value"), ("key",)])
def test_direct_effects_equal_the_oracle(family, through):
    prompts = random_prompts(count=1, length=5, scored=2)
    measure = relative_l2.measure
    ablation = Ablation("a", RESAMPLE, measure, scope="direct", through=through)
    result = influence(Request(decoder(model(family)), prompts, [ablation]))
    edges, _ = oracle_edges(model(family), prompts, ablation, "relative_l2")
    close(result.influence[0], edges[..., 0])


@every_part
@pytest.mark.parametrize(
    ("estimator", "steps", "readout"),
    [
        ("exact", None, "cross_entropy"),
        ("eap", None, "cross_entropy"),
        ("eap_ig", 2, "kl_divergence"),
    ],
)
def test_effects_of_edges_on_a_readout_equal_the_oracle(family, estimator, steps, readout):
    prompts = random_prompts(count=1, length=5, scored=2)
    ablation = Ablation("a", RESAMPLE, **READOUT, estimator=estimator, steps=steps)
    result = influence(Request(decoder(model(family)), prompts, [ablation], effects=(readout,)))
    edges, _ = oracle_edges(model(family), prompts, ablation, None, effects=(readout,))
    close(result.edge_effect[0], edges[..., 0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("family", [*PARTS, "smollm3", "olmo", "gemma"])
@pytest.mark.parametrize("estimator", ["relp", "gim"])
def test_rules_for_the_way_back_know_the_parts(family, estimator):
    prompts = random_prompts(count=1, length=4, scored=2)
    effects = ("cross_entropy",)
    ablation = Ablation("a", RESAMPLE, **READOUT, estimator=estimator)
    known = model(family, heads=4)
    result = influence(Request(decoder(known), prompts, [ablation], effects=effects))
    expected, _ = oracle_edges(known, prompts, ablation, None, effects=effects)
    close(result.edge_effect[0], expected[..., 0], rtol=1e-7)


@pytest.mark.parametrize("family", MIXTURES)
@pytest.mark.parametrize("estimator", ["relp", "gim"])
def test_rules_for_the_way_back_refuse_experts(family, estimator):
    prompts = random_prompts(count=1, length=4, scored=2)
    ablation = Ablation("a", RESAMPLE, **READOUT, estimator=estimator)
    with pytest.raises(CntbenchError, match=f"{estimator} has no rule for the router"):
        predicted_work(Request(decoder(model(family)), prompts, [ablation]))


@pytest.mark.parametrize("family", [*PARTS, *MIXTURES])
def test_linear_effects_are_the_limit_of_small_changes(family):
    prompts = random_prompts(count=2, length=5, scored=2)
    rule = noise.Parameters(scale=1.0, population="clean")
    measure, small = relative_l2.measure, noise.Parameters(scale=1e-5, population="clean")
    methods = [
        Ablation("a", rule, measure, estimator="linear"),
        Ablation("a", small, measure),
    ]
    linear, exact = influence(Request(decoder(model(family)), prompts, methods)).influence
    close(linear, 1e5 * exact, rtol=1e-3)


@pytest.mark.parametrize("family", ["olmo2", "gemma3_text"])
def test_atp_star_refuses_a_norm_after_attention(family):
    prompts = random_prompts(count=1, length=4, scored=2)
    ablation = Ablation("a", RESAMPLE, **READOUT, estimator="atp_star")
    with pytest.raises(CntbenchError, match=r"^ablation 'a': atp_star has no rule for a norm"):
        predicted_work(Request(decoder(model(family)), prompts, [ablation]))


@pytest.mark.parametrize(("family", "estimator"), [("olmo2", "atp_star"), ("olmoe", "gim")])
def test_a_study_is_refused_before_it_starts(family, estimator):
    known = random_model(family, vocabulary=60)
    with pytest.raises(SpecError, match=f"'resample_{estimator}': {estimator} has no rule for"):
        cntbench.influence(known, ablation=f"resample_{estimator}", prompts=2)


@pytest.mark.parametrize("family", [*PARTS, "phi3", "olmoe"])
@pytest.mark.parametrize("through", [HEAD_INPUTS, ("value",)])
def test_circuits_equal_the_oracle(family, through):
    known, prompts = model(family, heads=4), random_prompts(count=1, length=6, scored=3)
    request = Request(decoder(known), prompts, [Ablation("resample", RESAMPLE)])
    edges = edges_of(request.model)
    kept = edges & (np.random.default_rng(0).random((2, *edges.shape)) < 0.5)
    heads = np.array([*(node.kind == "head" for node in request.model.components), False])
    by_input = [kept if name in through else kept | heads for name in HEAD_INPUTS]
    values = circuit_readouts(request, statistics_of(request), np.stack(by_input, axis=1))
    expected = oracle_circuit(known, prompts, kept, replacement="resample", through=through)
    close(values, expected[:, known_readouts().index("logit_difference")])


@every_family
def test_the_work_is_what_is_predicted(family):
    view = decoder(random_model(family, width=8))
    scopes = [
        Ablation("total", RESAMPLE, relative_l2.measure),
        Ablation("direct", RESAMPLE, relative_l2.measure, scope="direct"),
    ]
    request = Request(view, random_prompts(count=2, length=6, scored=2), scopes)
    work = predicted_work(request)
    with sdpa_kernel(SDPBackend.MATH):
        counts = counted(request)
    assert counts[2] == work.flops
    assert counts[:2] == (work.attention_tokens, work.mlp_tokens) or "moe" in family
    if family not in PARTS:
        return
    rules = [Ablation("gim", RESAMPLE, **READOUT, estimator="gim")]
    request = dataclasses.replace(request, ablations=rules)
    work = predicted_work(request)
    counts = counted(request)
    assert counts[:2] == (work.attention_tokens, work.mlp_tokens)
    assert counts[2] == work.products or family == "gemma2", "capped attention has no operator"


@every_family
def test_checkpoints_are_read_in_every_format(family, tmp_path):
    saved = random_model(family)
    saved.save_pretrained(tmp_path / "whole")
    saved.save_pretrained(tmp_path / "sharded", max_shard_size="4KB")
    shutil.copytree(tmp_path / "whole", tmp_path / "bin")
    (tmp_path / "bin" / "model.safetensors").unlink()
    torch.save(dict(saved.state_dict()), tmp_path / "bin" / "pytorch_model.bin")
    with torch.no_grad():
        expected = saved(TOKENS).logits
    for folder in sorted(tmp_path.iterdir()):
        weights = checkpoint_files.read_weights(folder)
        assert not weights.unused
        actual = checkpoint_files.decoder(folder, weights.named).logits(TOKENS)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1


@every_family
def test_models_in_memory_are_read_in_a_narrow_type_too(family):
    for dtype in (torch.float32, torch.bfloat16):
        *_, held = read_model(random_model(family, vocabulary=60).to(dtype))
        assert held.difference < 1e-4 * held.scale


LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 100.0,
    "partial_rotary_factor": 0.5,
    "short_factor": [1.5],
    "long_factor": [3.0],
    "original_max_position_embeddings": 16,
}
VARIANTS = [
    ("qwen3", {"attention_bias": True}),
    ("qwen3", {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}),
    ("smollm3", {"attention_bias": True, "mlp_bias": True, "no_rope_layers": [0, 1]}),
    ("smollm3", {"use_sliding_window": True, "sliding_window": 3}),
    ("olmo", {"attention_bias": True, "tie_word_embeddings": True}),
    ("gemma", {"attention_bias": True, "tie_word_embeddings": False}),
    ("olmo2", {"tie_word_embeddings": True}),
    ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
    ("gemma3_text", {"final_logit_softcapping": 2.0, "tie_word_embeddings": False}),
    ("phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 16}),
    ("phi3", {"sliding_window": None, "partial_rotary_factor": 1.0}),
    ("olmoe", {"norm_topk_prob": True, "attention_bias": True}),
    ("qwen3_moe", {"norm_topk_prob": False, "mlp_only_layers": [], "decoder_sparse_step": 2}),
    ("qwen3_moe", {"use_sliding_window": True, "sliding_window": 3}),
    ("gptj", {"tie_word_embeddings": True, "rotary_dim": 4}),
    ("phi", {"tie_word_embeddings": True, "partial_rotary_factor": 1.0}),
    ("opt", {"enable_bias": False, "activation_function": "gelu"}),
    ("gpt_neo", {"tie_word_embeddings": False}),
    ("gpt_neo", {"intermediate_size": None}),  # as published
]


@pytest.mark.parametrize(("family", "options"), VARIANTS)
def test_options_are_computed(family, options):
    known = random_model(family, width=4, dtype=torch.float64, **options)
    check_values(known.config)
    engine = decoder(known)
    with torch.no_grad():
        expected = known(TOKENS).logits
    torch.testing.assert_close(engine.logits(TOKENS), expected, rtol=1e-10, atol=1e-10)
    assert engine.context == (16 if options.get("rope_parameters") is LONGROPE else 64)


REFUSED = [
    ("olmo2", {"attention_bias": True}, "belongs to no head", "attention_bias = false"),
    ("olmo3", {"layer_types": ["chunked_attention"] * 2}, "'chunked_attention'", "Allowed: full"),
    ("gemma", {"use_bidirectional_attention": True}, "later tokens", "= false"),
    ("gemma2", {"use_bidirectional_attention": True}, "later tokens", "= false"),
    ("gemma2", {"attn_logit_softcapping": 0.0}, "not above 0", "for caps also null"),
    ("gemma3_text", {"sliding_window": None}, "give its length", "full_attention"),
    ("gptj", {"rotary_dim": 6}, "rotary_dim = 6 does not fit", "an even number up to"),
    ("olmo", {"clip_qkv": 8.0}, "clipped", "clip_qkv = null"),
    ("olmoe", {"clip_qkv": 8.0}, "clipped", "clip_qkv = null"),
    ("smollm3", {"no_rope_layers": [1]}, "1 entries for 2 layers", "1 for each layer with"),
    ("olmoe", {"num_experts_per_tok": 9}, "9 experts for each token of 4", "from 1 to num_experts"),
    ("phi", {"qk_layernorm": True}, "LayerNorms of queries and keys", "qk_layernorm = false"),
    ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before = false", "but opt-350m"),
    ("opt", {"word_embed_proj_dim": 4}, "projected to the stream", "but opt-350m"),
    ("gpt_neo", {"attention_layers": ["globl"] * 2}, "'globl'", "Did you mean 'global'?"),
]


@pytest.mark.parametrize(("family", "options", "says", "hint"), REFUSED)
def test_what_is_not_computed_exactly_is_refused(family, options, says, hint):
    config = random_model(family, width=4).config
    for key, value in options.items():
        setattr(config, key, value)
    with pytest.raises(CheckpointError) as caught:
        adapter(family).shape(config)
    assert says in caught.value.what
    assert hint in caught.value.hint


#: Keys of other families, which transformers keeps in a config and its model does not read.
OF_OTHERS = {
    "sliding_window": 3,
    "layer_types": ["sliding_attention", "full_attention"],
    "hidden_activation": "relu",
    "no_rope_layers": [1],
}


@pytest.mark.parametrize(
    ("family", "key"),
    [
        *(
            (family, key)
            for family in ("llama", "gemma", "olmo", "olmo2", "olmoe")
            for key in OF_OTHERS
        ),
        *((family, "layer_types") for family in ("phi3", "qwen3_moe")),
    ],
)
def test_keys_of_other_families_do_not_count(family, key):
    known = random_model(family, dtype=torch.float64)
    setattr(known.config, key, OF_OTHERS[key])
    check_values(known.config)
    with torch.no_grad():
        expected = known(TOKENS, use_cache=False).logits
    torch.testing.assert_close(decoder(known).logits(TOKENS), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("token", [0, 16, 17, -1, None])
def test_the_beginning_is_a_token_of_the_vocabulary(token):
    config = random_model("olmo2", vocabulary=17).config
    config.bos_token_id = token
    assert beginning(config) == (token if token in (0, 16) else None)


def test_a_window_is_a_length():
    config = random_model("gemma2").config
    config.sliding_window = 0
    with pytest.raises(CheckpointError, match="sliding_window = 0 is not allowed"):
        check_values(config)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize(
    "architecture",
    ["gpt_neox", "gpt_neox, sequential", "llama", "qwen3", "smollm3", "opt", "gpt_neo"],
)
def test_a_model_whose_mlps_have_no_hidden_units_has_heads_alone(architecture, tmp_path):
    known = random_model(architecture, mlp=0, dtype=torch.float64)
    engine = decoder(known)
    assert [node.name for node in engine.components] == ["L0.H0", "L0.H1", "L1.H0", "L1.H1"]
    assert [node.stage for node in engine.components] == [0, 0, 1, 1]
    prompts, rule = random_prompts(count=1, length=5, scored=2), zero.Parameters()
    ablation = Ablation("zero", rule, relative_l2.measure)
    result = influence(Request(engine, prompts, [ablation]))
    expected, _, _ = oracle_influence(known, prompts, rule, "relative_l2")
    heads = [0, 1, 3, 4]  # the oracle has the MLPs, which write the same in every run
    close(result.influence[0], expected[np.ix_(heads, heads)])
    known.float().save_pretrained(tmp_path)
    weights = checkpoint_files.read_weights(tmp_path)
    assert checkpoint_files.read_shape(tmp_path).components == engine.components
    assert checkpoint_files.decoder(tmp_path, weights.named).components == engine.components


@pytest.mark.parametrize(
    ("architecture", "key"), [("gpt2", "n_inner"), ("gemma2", "intermediate_size")]
)
def test_other_families_refuse_mlps_without_hidden_units(architecture, key):
    config = random_model(architecture).config
    setattr(config, key, 0)
    with pytest.raises(CheckpointError, match="MLPs without hidden units are not supported"):
        adapter(config.model_type).shape(config)
