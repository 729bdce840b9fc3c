"""Writes a small Llama with random weights and a tokenizer of its own, as vLLM loads it. It says nothing sensible.

make_model.py DIRECTORY [tiny|mid]      # 0.2 M parameters and 512 B of KV a token, or 24 M and 6,144 B
"""

from __future__ import annotations

import itertools
import pathlib
import sys

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers, trainers

# hidden size, layers, heads, heads of KV; heads are at least 32 wide, which vLLM's CPU attention needs
SIZES = {"tiny": (64, 2, 4, 2), "mid": (512, 6, 8, 4)}
VOCABULARY = 512
MAX_TOKENS = 4096
CHAT_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    syllables = ["".join(pair) for pair in itertools.product("bdfgklmnprst", "aeiou")]
    words = ["".join(parts) for parts in itertools.product(syllables[::7], syllables[::5])]
    text = [" ".join(words[start::17]) for start in range(17)]
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        text, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=MAX_TOKENS
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(size: str) -> transformers.LlamaForCausalLM:
    hidden, layers, heads, kv_heads = SIZES[size]
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=max(32, hidden // heads),
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        tie_word_embeddings=False,
        dtype="bfloat16",
    )
    return transformers.LlamaForCausalLM(config).to(torch.bfloat16)


def main(directory: pathlib.Path, size: str) -> None:
    make_tokenizer().save_pretrained(directory)
    model = make_model(size)
    model.save_pretrained(directory)
    config = model.config
    kv_bytes = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 2
    print(f"{directory}: {sum(p.numel() for p in model.parameters())} parameters, {kv_bytes} B of KV a token")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or (len(sys.argv) == 3 and sys.argv[2] not in SIZES):
        sys.exit("usage: make_model.py DIRECTORY [tiny|mid]")
    main(pathlib.Path(sys.argv[1]), sys.argv[2] if len(sys.argv) == 3 else "tiny")
