"""Prompted audio language models of transformers: Qwen2-Audio, Qwen2.5-Omni and models tuned from them."""

from typing import Any

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.encoders.checkpoint import WEIGHTS_PATTERNS, find_folder, read_settings, weight_files
from genser.errors import ModelError
from genser.peers.audio_classifier import from_pretrained, part_of
from genser.peers.peer import Answer, PeerInfo, PeerRequest
from genser.peers.prompts import prompt_for, read_answer

MODEL_CLASSES = {
    "qwen2_audio": "Qwen2AudioForConditionalGeneration",
    "qwen2_5_omni": "Qwen2_5OmniThinkerForConditionalGeneration",
    "qwen2_5_omni_thinker": "Qwen2_5OmniThinkerForConditionalGeneration",
}
"""``model_type`` of a checkpoint → class of transformers. Qwen2.5-Omni is loaded without its voice."""

TOKENIZER_FILES = (
    "tokenizer*.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.*",
    "generation_config.json",
)
NEW_TOKENS = 32
"""Longest answer; one word needs a few tokens."""


class PromptedModel:
    """A language model that takes sound and a question, and answers in words; decoded greedily.

    Args:
        model: The model, in evaluation mode.
        processor: Its processor, with a chat template.
        info: Where it comes from, with the prompt.
        classes: Classes of the corpus, which the prompt lists.
    """

    gives_scores = False

    def __init__(self, model: Any, processor: Any, info: PeerInfo, classes: tuple[str, ...]) -> None:
        self.model, self.processor, self.info, self.classes = model, processor, info, classes

    def __call__(self, waveform: np.ndarray) -> Answer:
        """The class that the answer names."""
        import torch

        sound = {"type": "audio", "audio": waveform}
        chat = [{"role": "user", "content": [sound, {"type": "text", "text": self.info.prompt}]}]
        text = self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        inputs = self.processor(text=text, audio=[waveform], sampling_rate=SAMPLE_RATE, return_tensors="pt")
        inputs = inputs.to(self.model.device, self.model.dtype)
        with torch.inference_mode():
            tokens = self.model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        answer = tokens[0, inputs["input_ids"].shape[1] :]
        return read_answer(self.processor.decode(answer, skip_special_tokens=True), self.classes)


def load(request: PeerRequest) -> PromptedModel:
    """Load a prompted model; in bfloat16 on a GPU.

    Raises:
        ModelError: It is missing, damaged, incomplete or a pickle, or of another kind.
    """
    import torch

    folder = find_folder(request.weights, weights=[*WEIGHTS_PATTERNS, *TOKENIZER_FILES])
    model_type = read_settings(folder).get("model_type")
    if not isinstance(model_type, str) or model_type not in MODEL_CLASSES:
        known = ", ".join(MODEL_CLASSES)
        raise ModelError(f"{request.weights} is a {model_type!r} model. Name a model of one of the types {known}.")
    weight_files(folder)
    dtype = torch.float32 if request.device == "cpu" else torch.bfloat16
    model, library = from_pretrained(MODEL_CLASSES[model_type], folder, dtype=dtype)
    processor = part_of("AutoProcessor", folder)
    info = request.info(library, prompt_for(request.task, request.classes))
    return PromptedModel(model.to(request.device), processor, info, request.classes)
