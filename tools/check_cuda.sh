#!/usr/bin/env bash
# Everything about the GPU that a machine with one can tell: builds with CUDA, runs the tests that need a GPU, compares
# every stage and the demo's scenes with the CPU, times the full-size seeded model at 1008 px beside PyTorch on the same
# card, and tells what memory it takes. Prints Markdown for docs/BENCHMARKS.md; exits with 1 where something is wrong,
# with 3 where a prerequisite is missing.
#
#   tools/check_cuda.sh                    everything
#   tools/check_cuda.sh tests parity       only these: build, tests, demo, parity, times, memory
#   PYTHON=… tools/check_cuda.sh           a Python with torch (CUDA), torchvision, transformers, safetensors and Pillow
#   SCRATCH=… tools/check_cuda.sh          where the seeded checkpoint and its packages are kept (10 GB)
#   DEVICE=cpu tools/check_cuda.sh         a rehearsal without a GPU: the CPU build is compared with itself
#   PREBUILT=folder tools/check_cuda.sh bundle      where there is no GPU: the programs into that folder
#   PREBUILT=folder tools/check_cuda.sh             where there is a GPU and no Rust: with those programs, less thoroughly, in 6 minutes
#
# Needs an NVIDIA GPU with its driver; to build, a Rust toolchain, and for the kernels SAM3_KERNELS, a CUDA toolkit with
# nvcc on PATH, or else pip, by which tools/kernels.py fetches NVIDIA's compiler.
set -euo pipefail

cd "$(dirname "$0")/.."
device=${DEVICE:-cuda}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sam3-ci
python=${PYTHON:-$cache/venv/bin/python}
scratch=${SCRATCH:-$cache/gpu}
target=${CARGO_TARGET_DIR:-$PWD/target}
prebuilt=${PREBUILT:-}
binary=${prebuilt:-$target/release}/sam3
export PYTHONDONTWRITEBYTECODE=1

lacks() {
    printf 'check_cuda: %s\nhint: %s\n' "$1" "$2" >&2
    exit 3
}

features=()
steps=("$@")
[ $# -gt 0 ] || steps=(build tests demo parity times memory)
# On a machine that is lent for minutes.
scenes=512 rounds=10 warm_up=3
[ -z "$prebuilt" ] || scenes=64 rounds=5 warm_up=2
if [ "$device" = cuda ]; then
    features=(--features cuda)
    [ "${steps[*]}" = bundle ] || nvidia-smi -L >/dev/null 2>&1 ||
        lacks "no NVIDIA GPU answers: nvidia-smi -L failed" "run this where there is one; DEVICE=cpu rehearses without"
fi

kernels() { # for a build: compiled already, by nvcc as the build goes, or else here, for every card
    [ "$device" = cuda ] && [ -z "${SAM3_KERNELS:-}" ] && ! command -v nvcc >/dev/null || return 0
    python3 tools/kernels.py "$cache/all-kernels"
    export SAM3_KERNELS=$cache/all-kernels
}

build() {
    if [ -z "$prebuilt" ]; then
        kernels
        cargo build --locked --release "${features[@]}"
    fi
    "$binary" --version
}

# Of the whole workspace, or cargo would choose other features of what both programs use, and compile that again.
test_program=(cargo test --locked --release "${features[@]/#cuda/sam3-cli/cuda}" --workspace --lib)

bundle() { # the program and its tests, for a machine that can build neither
    [ -n "$prebuilt" ] || lacks "no folder for the programs" "PREBUILT=folder tools/check_cuda.sh bundle"
    mkdir -p "$prebuilt"
    kernels
    cargo build --locked --release "${features[@]}"
    install --strip "$target/release/sam3" "$binary"
    local crate tests
    for crate in tensor model; do
        tests=$("${test_program[@]}" --no-run --message-format json | sed -n "s/.*\"executable\":\"\([^\"]*sam3_$crate-[^\"]*\)\".*/\1/p" | tail -1)
        install --strip "$tests" "$prebuilt/sam3-$crate-tests"
    done
    ls -l "$prebuilt"
}

tests() { # the tests that .ci/run shows as ignored
    local wanted=(--ignored on_a_gpu)
    [ "$device" = cuda ] || wanted=(accelerator)
    if [ -n "$prebuilt" ]; then
        local crate
        for crate in tensor model; do
            CARGO_MANIFEST_DIR=$PWD/crates/sam3-$crate "$prebuilt/sam3-$crate-tests" "${wanted[@]}" --nocapture --test-threads 1
        done
    else
        "${test_program[@]}" -- "${wanted[@]}" --nocapture --test-threads 1
    fi
}

demo() { # the README's first command, on the GPU
    mkdir -p "$scratch"
    "$binary" demo --output "$scratch/demo" --device "$place"
}

parity() { # every stage and the demo's scenes, beside the CPU
    [ -d "$scratch/demo/desktop" ] || demo
    packages
    "$python" tools/bench_gpu.py parity --binary "$binary" --device "$device" --demo "$scratch/demo" --scenes "${SCENES:-$scenes}" \
        --package "$scratch/fp16.pth" --image "$image"
}

times() { # beside PyTorch, on the same card
    packages
    "$python" tools/bench_gpu.py times --binary "$binary" --device "$device" --checkpoint "$checkpoint" --fp16 "$scratch/fp16.pth" \
        --bf16 "$scratch/bf16.pth" --int8 "$scratch/int8.pth" --image "$image" --rounds "${ROUNDS:-$rounds}" --warm-up "${WARM_UP:-$warm_up}"
}

memory() { # by our own account, and by what nvidia-smi sees
    packages
    [ -f "$scratch/baked.pth" ] ||
        "$binary" package --quiet --no-tarball --checkpoint-path "$checkpoint" --quantize int8 --components image --bake-prompts boat \
            --output "$scratch/baked.pth"
    "$python" tools/bench_gpu.py memory --binary "$binary" --device "$device" --image "$image" \
        "$scratch/fp16.pth" "$scratch/int8.pth" "$scratch/baked.pth"
}

checkpoint=${CHECKPOINT:-$cache/full/sam3.pt}
image=${IMAGE:-$scratch/photo.png}

packages() { # the seeded checkpoint of full size, its packages, and a picture
    needs_python
    mkdir -p "$scratch" "$(dirname "$checkpoint")"
    [ -f "$checkpoint" ] || "$python" tools/checkpoints.py --config full --output "$checkpoint"
    local precision
    for precision in fp16 bf16 int8; do
        [ -f "$scratch/$precision.pth" ] ||
            "$binary" package --quiet --no-tarball --checkpoint-path "$checkpoint" --quantize "$precision" --output "$scratch/$precision.pth"
    done
    [ -f "$image" ] || "$python" - "$image" <<'PYTHON'
import sys
import numpy
from PIL import Image

# Smooth shapes and noise, as large as a photo of a telephone made small: its content does not matter to the time.
y, x = numpy.mgrid[0:853, 0:1280] / 200
picture = numpy.stack([numpy.sin(x * k + y) for k in (1, 2, 3)], -1) * 90 + 128
noise = numpy.random.default_rng(0).normal(0, 12, picture.shape)
Image.fromarray((picture + noise).clip(0, 255).astype("uint8")).save(sys.argv[1])
PYTHON
}

needs_python() {
    [ -x "$python" ] || command -v "$python" >/dev/null ||
        lacks "no Python at $python" ".ci/run venv makes one; or set PYTHON"
    "$python" - "$device" <<'PYTHON' || lacks "$python cannot run the reference" "pip install -r tools/requirements.txt, with a torch that was built for this GPU's CUDA"
import sys
import torch, torchvision, transformers, safetensors, PIL

if sys.argv[1] == "cuda" and not torch.cuda.is_available():
    sys.exit(f"torch {torch.__version__} sees no GPU")
print("torch", torch.__version__, "transformers", transformers.__version__, file=sys.stderr)
PYTHON
}

place=cpu
[ "$device" = cpu ] || place=cuda:0
for step in "${steps[@]}"; do
    case $step in
    build | bundle | tests | demo | parity | times | memory) ;;
    *) printf 'check_cuda: no step %q; there are build, bundle, tests, demo, parity, times and memory\n' "$step" >&2 && exit 2 ;;
    esac
done
[ "$device" = cpu ] || [ "${steps[*]}" = bundle ] || nvidia-smi -L
failed=()
for step in "${steps[@]}"; do
    printf '\n=== %s\n' "$step"
    start=$SECONDS
    # In a shell of its own with errexit, which `||` would switch off.
    set +e
    (set -e && "$step")
    status=$?
    set -e
    printf '=== %s: %s s\n' "$step" $((SECONDS - start))
    case $status in
    0) ;;
    3) exit 3 ;;
    *) failed+=("$step") ;;
    esac
    [ "$step" != build ] || [ "$status" = 0 ] || exit 1
done
[ ${#failed[@]} = 0 ] || {
    printf '\ncheck_cuda: failed: %s\n' "${failed[*]}" >&2
    exit 1
}
printf '\ncheck_cuda: everything holds\n'
