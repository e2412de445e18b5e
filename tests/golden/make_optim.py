"""Prints tests/golden/optim.h: three steps of torch.optim.SGD and AdamW, and the rates of PyTorch's schedulers.

The problem: w starts as START; the gradient of step t is COEFFICIENT * w + 0.1 t, in float32."""
import torch

START = [0.5, -1.25, 2.0, -0.0625]
COEFFICIENT = [1.0, 0.5, -0.25, 3.0]
STEPS = 3
RATES = [0.1, 0.05, 0.02]


def row(name, momentum, weight_decay, nesterov):
    w = torch.nn.Parameter(torch.tensor(START))
    c = torch.tensor(COEFFICIENT)
    if name == "adamw":
        optimizer = torch.optim.AdamW([w], betas=(momentum, 0.999), weight_decay=weight_decay)
    else:
        optimizer = torch.optim.SGD([w], lr=1, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
    for t in range(STEPS):
        w.grad = c * w.detach() + 0.1 * t
        optimizer.param_groups[0]["lr"] = RATES[t]
        optimizer.step()
    numbers = ", ".join(f"{x:.9g}f" for x in w.tolist())
    return f'    {{"{name}", {momentum}, {weight_decay}, {str(nesterov).lower()}, {{{numbers}}}}},'


def rates(make, steps, name):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    print(f"static const double {name}[] = {{{', '.join(f'{x:.17g}' for x in found)}}};")


S = torch.optim.lr_scheduler
print("/* Made by tests/golden/make_optim.py with PyTorch " + torch.__version__.split("a")[0] + ". */")
print("static const struct {\n    const char *name;\n    double momentum, weight_decay;\n    bool nesterov;\n"
      f"    float w[{len(START)}]; /* after {STEPS} steps */\n}} golden_steps[] = {{")
for case in [("sgd", 0.0, 0.0, False), ("sgd", 0.0, 0.01, False), ("sgd", 0.9, 0.0, False), ("sgd", 0.9, 0.01, False),
             ("sgd", 0.9, 0.01, True), ("adamw", 0.9, 0.0, False), ("adamw", 0.9, 0.1, False), ("adamw", 0.5, 0.01, False)]:
    print(row(*case))
print("};")
rates(lambda o: S.CosineAnnealingLR(o, T_max=12), 12, "golden_cosine")
rates(lambda o: S.CosineAnnealingLR(o, T_max=12, eta_min=0.001), 12, "golden_cosine_low")
rates(lambda o: S.StepLR(o, step_size=6, gamma=0.1), 16, "golden_step")
rates(lambda o: S.SequentialLR(o, [S.LinearLR(o, start_factor=0.25, end_factor=1, total_iters=3),
                                   S.CosineAnnealingLR(o, T_max=8)], milestones=[4]), 12, "golden_warmup")
