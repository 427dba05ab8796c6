"""A large mixed table from file to answer: two commands of this project beside a script with scikit-learn and PyTorch.

    python benchmarks/by_hand.py flights.csv [--trials 6] [--epochs 2]

The script does what a careful user would: pandas reads the file, numbers get a median and a standard scaling, levels
are one-hot with the rare ones merged, and autoencoders drawn from the space of `tuner init` are trained by a plain loop
with the data in memory and a fused AdamW, for as many epochs each; the best by validation loss is the answer. It has no
masks, no loss by columns, no final stage, no record and no export. Both run in processes of their own, one after the
other; wall time and the memory of the largest process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BY_HAND = """
import sys, json, random
import numpy as np, pandas as pd, torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
file, trials, epochs, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
table = pd.read_csv(file)
numbers = [name for name in table if table[name].nunique() > 1 and pd.api.types.is_numeric_dtype(table[name])]
levels = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
table[levels] = table[levels].astype(object)
train, held_out = train_test_split(table, test_size=0.3, random_state=0)
validation, test = train_test_split(held_out, test_size=1 / 3, random_state=0)
encoder = ColumnTransformer([
    ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
    ("levels", OneHotEncoder(max_categories=31, handle_unknown="infrequent_if_exist", sparse_output=False), levels),
])
x = torch.tensor(encoder.fit_transform(train), dtype=torch.float32)
v, t = (torch.tensor(encoder.transform(part), dtype=torch.float32) for part in (validation, test))
draw = random.Random(0)
best = (float("inf"), None)
for trial in range(trials):
    rate, batch = 10 ** draw.uniform(-4, -1.5), draw.choice([64, 128, 256])
    depth, width = draw.randint(1, 3), round(2 ** draw.uniform(4, 9))
    activation = draw.choice([torch.nn.ReLU, torch.nn.GELU, torch.nn.SiLU, torch.nn.Tanh])
    code = max(2, min(32, round(x.shape[1] / 4)))
    sizes = [x.shape[1], *np.geomspace(width, code, depth + 1).round().astype(int).tolist()]
    sizes += sizes[-2::-1]
    layers = []
    for place, (a, b) in enumerate(zip(sizes, sizes[1:])):
        layers += [torch.nn.Linear(a, b)] + ([activation()] if place not in (depth, len(sizes) - 2) else [])
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    for epoch in range(epochs):
        for index in torch.randperm(len(x)).split(batch):
            loss = torch.nn.functional.mse_loss(model(x[index]), x[index])
            optimizer.zero_grad(); loss.backward(); optimizer.step()
    with torch.no_grad():
        value = torch.nn.functional.mse_loss(model(v), v).item()
    if value < best[0]:
        with torch.no_grad():
            best = (value, torch.nn.functional.mse_loss(model(t), t).item())
print(json.dumps({"columns": x.shape[1], "validation": best[0], "test": best[1]}))
"""


def timed(words: list[str], folder: Path) -> tuple[float, str]:
    """Seconds of a command, and what it printed."""
    start = time.monotonic()
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words[:6])}: {done.stderr[-2000:]}")
    return time.monotonic() - start, done.stdout


def memory() -> float:
    """The largest memory of any ended child so far, in GB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args()
    file = given.file.resolve()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        budget = ["--set", f"search.trials={given.trials}", "--set", f"search.epochs={given.epochs}"]
        first, text = timed([sys.executable, "-m", "tuner", "init", str(file), "--name", "ours"], folder)
        (folder / "s.yaml").write_text(text)
        second, answer = timed([sys.executable, "-m", "tuner", "run", "s.yaml", "--json", *budget], folder)
        ours = json.loads(answer[answer.index("{") :])
        print(f"tuner init: {first:.1f} s; tuner run: {second:.1f} s; largest process {memory():.2f} GB", flush=True)
        winner = ours["winner"]
        beside = winner["baselines"]
        print(f"  test loss {winner['test_loss']:.4f}, PCA {beside['pca']:.4f}, mean {beside['mean']:.4f}")
        for threads in (1, 2):
            words = [sys.executable, "-c", BY_HAND, str(file), str(given.trials), str(given.epochs), str(threads)]
            seconds, text = timed(words, folder)
            said = f"by hand, {threads} threads: {seconds:.1f} s; largest process so far {memory():.2f} GB"
            print(f"{said}; {text.strip()}", flush=True)


if __name__ == "__main__":
    main()
