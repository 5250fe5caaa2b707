"""GDROTrainer on a CPU in half a minute: the embedded model, sums made up on the spot.

python examples/trl_script.py [STEPS]
"""

import sys

from datasets import Dataset

from gdro import GDROConfig, GDROTrainer
from gdro.tiny import base_path

rows = [
    {"id": f"add/{a}{b}", "prompt": f"{a} + {b} =", "answer": str(a + b)}
    for a in range(1, 10)
    for b in range(1, 10)
]


def reward(completions, answer, **kwargs):
    return [float(text.strip() == gold) for text, gold in zip(completions, answer, strict=True)]


args = GDROConfig(
    "out",
    num_generations=4,
    gradient_accumulation_steps=8,  # 8 prompts an update
    max_steps=int(sys.argv[1]) if len(sys.argv) > 1 else 30,
    report_to="none",
    use_cpu=True,
    bf16=False,
)
trainer = GDROTrainer(str(base_path()), reward, args=args, train_dataset=Dataset.from_list(rows))
trainer.train()
