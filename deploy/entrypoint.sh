#!/bin/sh
# What the container does: by default it builds the plans that this GPU lacks, then serves.
#
#   serve [FLAG]...   build what is missing, then run tritonserver, with further flags of its own
#   plans             build what is missing, and end
#   health            have the server answer a real request
#
# Environment: ADLENS_PROFILE (gpu, or gpu-onnxruntime, which needs no plans), ADLENS_MODELS and ADLENS_CACHE
# (folders that outlive the container), ADLENS_CUDA_POOL_BYTES and ADLENS_PINNED_POOL_BYTES,
# ADLENS_SERVER_ADMIN_TOKEN (opens what is closed else, as with `python -m server`).
#
# Exit status: that of tritonserver; 2 wrong usage; 3 there is no GPU, or a model is not built.
set -eu

home=${ADLENS_HOME:-/opt/adlens}
models=${ADLENS_MODELS:-/models}
cache=${ADLENS_CACHE:-/var/cache/adlens}
profile=${ADLENS_PROFILE:-gpu}
# Tensors between steps stay on the GPU while this has room. A full batch of 64 canvases takes 79 MB, and a dozen
# are on their way: four that are decoded, and those that wait or are looked at. Triton's own 64 MB hold none.
cuda_pool=${ADLENS_CUDA_POOL_BYTES:-1073741824}
pinned_pool=${ADLENS_PINNED_POOL_BYTES:-268435456}

say() {
    printf 'adlens: %s\n' "$*" >&2
}

# One a GPU that the container sees.
count_gpus() {
    nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU ' || true
}

# Bring the models of the image into the folder that outlives it. What a gallery holds is its users'.
copy_models() {
    for source in "$home"/model_repository/*/; do
        name=$(basename "$source")
        target=$models/$name
        mkdir -p "$target"
        if [ -n "$(find "$target" -mindepth 2 -maxdepth 2 -name gallery.json)" ]; then
            rm -rf "$target/configs"
            cp -R "$source/config.pbtxt" "$source/configs" "$target/"
        else
            rm -rf "$target/configs"
            cp -R -u "$source/." "$target/"
        fi
    done
}

build_plans() {
    case $profile in
        gpu) set -- --fall-back ;;
        gpu-onnxruntime) set -- --graphs ;;
        *)
            say "ADLENS_PROFILE is '$profile'; it is gpu or gpu-onnxruntime"
            exit 2
            ;;
    esac
    gpus=$(count_gpus)
    if [ "$gpus" -eq 0 ]; then
        say "no NVIDIA GPU is visible; run with: docker run --gpus all"
        exit 3
    fi
    say "$gpus GPU(s); building what is missing in $models, which takes minutes the first time"
    copy_models
    (cd "$home" && python3 -m export.tensorrt --repository "$models" --timings "$cache/timings" "$@") || {
        say "what is to be served cannot be built; see above"
        exit 3
    }
}

serve() {
    build_plans
    number=0
    while [ "$number" -lt "$gpus" ]; do
        set -- "--cuda-memory-pool-byte-size=$number:$cuda_pool" "$@"
        number=$((number + 1))
    done
    # Closed to all where nobody has a token. Flags: tritonserver --help.
    token=${ADLENS_SERVER_ADMIN_TOKEN:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}
    closed=shared-memory,model-repository,model-config,statistics,trace,logging
    exec tritonserver \
        --model-repository="$models" \
        --model-repository="$home/ensembles" \
        --model-repository="$home/gpu" \
        --model-config-name="$profile" \
        --model-control-mode=poll \
        --repository-poll-secs=1 \
        --disable-auto-complete-config \
        --allow-http=false \
        --grpc-restricted-protocol="$closed:admin=$token" \
        --grpc-max-connection-age=60000 \
        --exit-timeout-secs=30 \
        --pinned-memory-pool-byte-size="$pinned_pool" \
        "$@"
}

command=${1:-serve}
[ $# -eq 0 ] || shift
case $command in
    serve) serve "$@" ;;
    plans) build_plans ;;
    health) ADLENS_URL=${ADLENS_URL:-127.0.0.1:8001} exec adlens health ;;
    *)
        say "'$command' is none of: serve, plans, health"
        exit 2
        ;;
esac
