#!/usr/bin/env bash
# The experiment of arXiv 2601.19280 on stock verl 0.9, one node of 8 GPUs. Values: appendix A of the paper; what it
# leaves open, and where the authors' release differs: docs/theory.md. Not run by us on GPUs.
#
#   verl.sh SIZE METHOD [further Hydra overrides]      SIZE: 1.7b 4b 8b      METHOD: grpo prompt rollout joint
#   verl.sh --print SIZE METHOD [...]                  print the overrides, one a line, and run nothing
#
# TRAIN and VAL are parquet files of `gdro prepare dapo-math`; GPUS the number of GPUs of the node.
set -euo pipefail

usage() { sed -n '5,6s/^# *//p' "$0" >&2; exit 2; }
print=no
if [[ ${1:-} == --print ]]; then print=yes; shift; fi
[[ $# -ge 2 ]] || usage
size=$1 method=$2
shift 2

case $method in
  grpo) controller=uniform ;;
  prompt) controller=paper_prompt ;;
  rollout) controller=paper_rollout ;;
  joint) controller=paper ;;
  *) echo "verl.sh: METHOD $method is none of grpo, prompt, rollout, joint" >&2; usage ;;
esac

# Ours, chosen to fit 80 GB: rows of one pass, share of memory for vLLM.
case $size in
  1.7b) model=Qwen/Qwen3-1.7B-Base rows=8 share=0.6 offload=false ;;
  4b) model=Qwen/Qwen3-4B-Base rows=4 share=0.55 offload=false ;;
  8b) model=Qwen/Qwen3-8B-Base rows=2 share=0.5 offload=true ;;
  *) echo "verl.sh: SIZE $size is none of 1.7b, 4b, 8b" >&2; usage ;;
esac

overrides=(
  trainer.v1.trainer_mode=gdro
  +gdro.controller="$controller"
  +gdro.weighting=row                     # as the paper's engine averages
  "+gdro.reward_range=[-1,1]"             # verl scores DAPO-Math 1 or -1
  algorithm.adv_estimator=grpo
  algorithm.use_kl_in_reward=false
  data.train_files="${TRAIN:-data/dapo-math-en.parquet}"
  data.val_files="${VAL:-data/dapo-math-en.parquet}"
  data.train_batch_size=256
  data.max_prompt_length=3200
  data.max_response_length=4096
  data.filter_overlong_prompts=true
  data.truncation=error
  actor_rollout_ref.model.path="$model"
  actor_rollout_ref.model.enable_gradient_checkpointing=true
  actor_rollout_ref.actor.optim.lr=1e-6
  actor_rollout_ref.actor.ppo_mini_batch_size=256
  actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu="$rows"
  actor_rollout_ref.actor.clip_ratio_low=0.2
  actor_rollout_ref.actor.clip_ratio_high=0.28
  actor_rollout_ref.actor.use_kl_loss=true
  actor_rollout_ref.actor.kl_loss_coef=0.001
  actor_rollout_ref.actor.entropy_coeff=0
  actor_rollout_ref.actor.fsdp_config.optimizer_offload="$offload"
  actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu="$rows"
  actor_rollout_ref.rollout.name=vllm
  actor_rollout_ref.rollout.n=4
  actor_rollout_ref.rollout.temperature=1.0
  actor_rollout_ref.rollout.tensor_model_parallel_size=1
  actor_rollout_ref.rollout.gpu_memory_utilization="$share"
  actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu="$rows"
  trainer.project_name=gdro_paper
  trainer.experiment_name="qwen3_${size}_$method"
  trainer.n_gpus_per_node="${GPUS:-8}"
  trainer.nnodes=1
  trainer.total_training_steps=1000
  trainer.total_epochs=100                # the steps end the run, not the epochs
  trainer.save_freq=100
  trainer.test_freq=-1                    # the suites measure: gdro evaluate MODEL --suite all
  trainer.val_before_train=false
  "$@"
)

if [[ $print == yes ]]; then
  printf '%s\n' "${overrides[@]}"
  exit 0
fi
python -m gdro.engines.verl.check
exec python -m verl.trainer.main_ppo "${overrides[@]}"
