"""Tiny random models of the classes that peers have, as folders like those of their makers."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

WAVE = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8, 8),
    "conv_stride": (20, 16),
    "conv_kernel": (20, 16),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "conv_pos_kernel_size": 5,
}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "num_mel_bins": 80,
    "vocab_size": 60,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 16,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "decoder_start_token_id": 0,
}
FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "whisper")


def classifier(folder: Path, family: str, classes: tuple[str, ...]) -> Path:
    """An audio classifier of transformers with random weights and its feature extractor."""
    sizes = WHISPER if family == "whisper" else WAVE
    labels = dict(enumerate(classes))
    config = transformers.AutoConfig.for_model(family, **sizes, id2label=labels, label2id={})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModelForAudioClassification.from_config(config).save_pretrained(folder)
    whisper = family == "whisper"
    extractor = transformers.WhisperFeatureExtractor if whisper else transformers.Wav2Vec2FeatureExtractor
    extractor().save_pretrained(folder)
    return folder


def tokenizer(*specials: str) -> transformers.PreTrainedTokenizerFast:
    """A tokenizer of single bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", *specials],
    )


TEXT = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
EARS = {"num_mel_bins": 128, "d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}


def qwen2_audio(folder: Path) -> Path:
    """A Qwen2-Audio with its processor and chat template."""
    words = tokenizer()
    config = transformers.Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", **EARS},
        text_config={"model_type": "qwen2", "vocab_size": len(words), **TEXT},
        audio_token_index=words.convert_tokens_to_ids("<|AUDIO|>"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.Qwen2AudioForConditionalGeneration(config).save_pretrained(folder)
    extractor = transformers.WhisperFeatureExtractor(feature_size=128)
    processor = transformers.Qwen2AudioProcessor(feature_extractor=extractor, tokenizer=words)
    processor.chat_template = processor.chat_template or processor.default_chat_template
    processor.save_pretrained(folder)
    return folder


def qwen_omni():
    """The listening part of a Qwen2.5-Omni, and its processor without pictures, which would need torchvision."""
    words = tokenizer("<|IMAGE|>", "<|VIDEO|>", "<|vision_bos|>", "<|vision_eos|>")
    marks = {name: f"<|{name.upper()}|>" for name in ("image", "audio", "video")}
    marks |= {f"{kind}_{end}": f"<|{kind}_{end}|>" for kind in ("vision", "audio") for end in ("bos", "eos")}
    ids = {}
    for name, mark in marks.items():
        ids[name] = words.convert_tokens_to_ids(mark)
        setattr(words, f"{name}_token", mark)
        setattr(words, f"{name}_token_id", ids[name])
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    config = transformers.Qwen2_5OmniThinkerConfig(
        audio_config={**EARS, "output_dim": 16},
        text_config={"vocab_size": len(words), "rope_parameters": rope, **TEXT},
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16},
    )
    for name in ("image", "audio", "video"):
        setattr(config, f"{name}_token_id", ids[name])
    config.vision_start_token_id, config.position_id_per_seconds = ids["vision_bos"], 25
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.Qwen2_5OmniThinkerForConditionalGeneration(config).eval()

    class WithoutPictures(transformers.Qwen2_5OmniProcessor):
        def check_argument_for_proper_class(self, argument_name, argument):
            return type(argument)

    template = (
        "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'audio' %}"
        "<|audio_bos|><|AUDIO|><|audio_eos|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    )
    extractor = transformers.WhisperFeatureExtractor(feature_size=128)
    return model, WithoutPictures(None, None, extractor, words, chat_template=template)
