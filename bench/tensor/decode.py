"""PyTorch peer of decode.ts: a plain Llama decode step with a KV cache that is written in place, random weights.
Reads lines "<batch> <past> <steps>" on stdin, answers each with the seconds that the steps took."""
import json
import sys
import time

import torch
import torch.nn.functional as F

config, threads = json.loads(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
torch.set_grad_enabled(False)
torch.manual_seed(1)
width, ffn, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
heads, kv_heads, size = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
epsilon, most = config["rms_norm_eps"], 512


def matrix(rows, columns):
    return (torch.rand(rows, columns) - 0.5) * 0.35


embedding = matrix(vocab, width)
layers = [
    {
        "n1": torch.ones(width), "n2": torch.ones(width),
        "qkv": matrix((heads + 2 * kv_heads) * size, width), "o": matrix(width, heads * size),
        "gate_up": matrix(2 * ffn, width), "down": matrix(width, ffn),
    }
    for _ in range(config["num_hidden_layers"])
]
frequencies = 1.0 / (config["rope_theta"] ** (torch.arange(0, size, 2).float() / size))
angles = torch.outer(torch.arange(most).float(), frequencies)
cosines, sines = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)


def norm(x, gain):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * gain


def rotate(x, position):
    half = size // 2
    return x * cosines[position] + torch.cat([-x[..., half:], x[..., :half]], -1) * sines[position]


def step(ids, caches, position):
    batch = ids.shape[0]
    x = embedding[ids]
    for layer, (keys, values) in zip(layers, caches):
        qkv = F.linear(norm(x, layer["n1"]), layer["qkv"]).view(batch, heads + 2 * kv_heads, size)
        q, k, v = qkv.split([heads, kv_heads, kv_heads], 1)
        q = rotate(q, position)
        keys[:, :, position], values[:, :, position] = rotate(k, position), v
        past_k, past_v = keys[:, :, : position + 1], values[:, :, : position + 1]
        scores = q.view(batch, kv_heads, heads // kv_heads, size) @ past_k.transpose(-1, -2) / size**0.5
        mixed = (scores.softmax(-1) @ past_v).reshape(batch, heads * size)
        x = x + F.linear(mixed, layer["o"])
        gate, up = F.linear(norm(x, layer["n2"]), layer["gate_up"]).split(ffn, -1)
        x = x + F.linear(F.silu(gate) * up, layer["down"])
    return F.linear(norm(x, torch.ones(width)), embedding).argmax(-1)


print("ready", torch.__version__, flush=True)
for line in sys.stdin:
    batch, past, steps = map(int, line.split())
    caches = [[torch.zeros(batch, kv_heads, most, size) for _ in "kv"] for _ in layers]
    ids = step(torch.arange(batch), caches, past)
    start = time.perf_counter()
    for i in range(steps):
        ids = step(ids, caches, past + 1 + i)
    print(time.perf_counter() - start, flush=True)
