"""PyTorch peer of train.ts: whole training steps (forward, backward, clipping, AdamW) of the same Llama, merged projections.
Reads lines "<steps>" on stdin, answers each with "<wall seconds> <CPU seconds> <last loss>"."""
import json
import sys
import time

import torch
import torch.nn.functional as F

config, batch, length, threads = (json.loads(argument) for argument in sys.argv[1:5])
torch.set_num_threads(threads)
torch.manual_seed(1)
width, ffn, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
heads, kv_heads, depth = config["num_attention_heads"], config["num_key_value_heads"], config["num_hidden_layers"]
size = width // heads
epsilon = config["rms_norm_eps"]


def matrix(rows, columns, std=0.02):
    return (torch.randn(rows, columns) * std).requires_grad_()


embedding, last = matrix(vocab, width), torch.ones(width, requires_grad=True)
layers = [
    {
        "n1": torch.ones(width, requires_grad=True), "n2": torch.ones(width, requires_grad=True),
        "qkv": matrix((heads + 2 * kv_heads) * size, width), "o": matrix(width, heads * size),
        "gate_up": matrix(2 * ffn, width), "down": matrix(width, ffn),
    }
    for _ in range(depth)
]
parameters = [embedding, last, *(tensor for layer in layers for tensor in layer.values())]
optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0, foreach=True)
frequencies = 1.0 / (config["rope_theta"] ** (torch.arange(0, size, 2).float() / size))
angles = torch.outer(torch.arange(length).float(), frequencies)
cosines, sines = torch.cat([angles.cos()] * 2, -1)[:, None], torch.cat([angles.sin()] * 2, -1)[:, None]
mask = torch.full((length, length), float("-inf")).triu(1)


def norm(x, gain):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * gain


def rotate(x):
    half = size // 2
    return x * cosines + torch.cat([-x[..., half:], x[..., :half]], -1) * sines


def loss_of(ids, labels):
    x = F.embedding(ids, embedding)
    for layer in layers:
        qkv = F.linear(norm(x, layer["n1"]), layer["qkv"]).view(batch, length, heads + 2 * kv_heads, size)
        q, k, v = qkv.split([heads, kv_heads, kv_heads], 2)
        q = rotate(q).transpose(1, 2).reshape(batch, kv_heads, heads // kv_heads, length, size)
        k, v = rotate(k).transpose(1, 2).unsqueeze(2), v.transpose(1, 2).unsqueeze(2)
        weights = (q @ k.transpose(-1, -2) / size**0.5 + mask).softmax(-1)
        mixed = (weights @ v).reshape(batch, heads, length, size).transpose(1, 2).reshape(batch, length, heads * size)
        x = x + F.linear(mixed, layer["o"])
        gate, up = F.linear(norm(x, layer["n2"]), layer["gate_up"]).split(ffn, -1)
        x = x + F.linear(F.silu(gate) * up, layer["down"])
    logits = F.linear(norm(x, last), embedding)
    return F.cross_entropy(logits.view(-1, vocab), labels.reshape(-1))


ids = torch.randint(vocab, (batch, length + 1))
print("ready", torch.__version__, flush=True)
for line in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(int(line)):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(ids[:, :-1], ids[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    print(time.perf_counter() - wall, time.process_time() - cpu, loss.item(), flush=True)
