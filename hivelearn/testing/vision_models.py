"""Models that see, made from configurations in a moment: their language half has odd names."""

from collections.abc import Mapping
from typing import Any


def llava(text: Mapping[str, Any], eye: Mapping[str, Any]) -> Any:
    """Return an untrained LLaVA: a CLIP eye before a Llama.

    Args:
        text: settings of its ``LlamaConfig``.
        eye: settings of its ``CLIPVisionConfig``.
    """
    import transformers as tf

    config = tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(**eye, projection_dim=16),
        text_config=tf.LlamaConfig(**text),
        image_token_index=62,
    )
    return tf.LlavaForConditionalGeneration(config)


def gemma3(text: Mapping[str, Any], eye: Mapping[str, Any]) -> Any:
    """Return an untrained Gemma 3 with eyes.

    Args:
        text: settings of its language model, beside the width of a head and of its window.
        eye: settings of its vision tower.
    """
    import transformers as tf

    config = tf.Gemma3Config(
        text_config={**text, "head_dim": 16, "sliding_window": 16},
        vision_config=dict(eye),
        mm_tokens_per_image=1,
        boi_token_index=60,
        eoi_token_index=61,
        image_token_index=62,
    )
    return tf.Gemma3ForConditionalGeneration(config)
