"""Names that other projects use for options and choices: an unknown name is answered with the one used here."""

from __future__ import annotations

from collections.abc import Mapping

_NAMES: Mapping[str, str] = {
    "seed": "random_seed manual_seed",
    "threads": "n_threads num_threads num_workers",
    "data.max_train": "max_train_samples",
    "model.attention": "attention_type attn use_attention",
    "model.attention_dim": "att_dim att_hid_size attention_size attn_dim",
    "model.cell": "cell_type rnn_type",
    "model.dropout_embedding": "dropout_words embedding_dropout embed_dropout",
    "model.dropout_features": "dropout_image image_dropout feature_dropout",
    "model.dropout_hidden": "dropout dropout_rate dropout_output drop_prob drop_prob_lm dropout_p",
    "model.dtype": "precision",
    "model.hidden_dim": "hidden hidden_size hidden_units rnn_size lstm_size units",
    "model.image_input": "image inject",
    "model.wordvec_dim": "embed embed_dim embed_size embedding_dim embedding_size emb_dim emb_size word_dim input_size "
    "input_encoding_size",
    "train.batch_size": "batch bs minibatch_size",
    "train.captions_per_image": "captions_per_img cpi seq_per_img",
    "train.clip_norm": "clip clip_grad clip_grad_norm clip_gradients grad_clip gradient_clip gradient_clip_val "
    "gradient_clipping max_grad_norm",
    "train.ema_decay": "average ema ema_rate model_ema moving_average polyak",
    "train.epochs": "max_epochs n_epochs nb_epoch num_epochs num_train_epochs",
    "train.epsilon": "adam_eps adam_epsilon eps",
    "train.init_from": "checkpoint finetune finetune_from init_checkpoint load_from pretrained start start_from "
    "warm_start",
    "train.learning_rate": "alpha base_lr initial_lr lr step_size",
    "train.lr_decay": "gamma learning_rate_decay",
    "train.max_steps": "iterations max_iter max_iters num_steps num_train_steps",
    "train.objective": "criterion loss loss_fn loss_function",
    "train.patience": "early_stop early_stopping early_stopping_patience",
    "train.save_every": "checkpoint_every save_interval save_steps",
    "train.schedule": "lr_schedule lr_scheduler lr_scheduler_type scheduler",
    "train.update_rule": "optim optimiser optimizer solver",
    "train.warmup_steps": "lr_warmup num_warmup_steps warmup",
    "train.weight_decay": "l2 l2_reg wd",
    "validate.best_metric": "best metric metric_for_best_model monitor",
    "validate.every": "eval_every val_every val_interval",
    "validate.score_every": "metrics",
    "decode.beam_width": "beam beam_size beams n_beams num_beams",
    "decode.consensus": "rerank reranking",
    "decode.length_penalty": "alpha_length len_norm len_penalty length_norm length_normalisation length_normalization "
    "length_power lenpen lp_alpha",
    "decode.max_length": "max_len max_new_tokens max_tokens",
    "decode.method": "decoder decoding_strategy do_sample sampler strategy",
    "decode.min_length": "min_len min_new_tokens min_tokens",
    "decode.no_repeat_ngram": "block_ngram_repeat block_trigrams ngram_blocking no_repeat no_repeat_ngram_size",
    "decode.suppress_words": "bad_words bad_words_ids ban banned_words suppress suppress_tokens",
    "decode.top_p": "nucleus nucleus_p",
    # choices
    "beam": "beam_search greedy",
    "cosine": "cosine_annealing",
    "cross_entropy": "ce crossentropy likelihood mle nll xe xent",
    "distillation": "distil kd knowledge_distillation seq_kd teacher",
    "float32": "float fp32 single",
    "float64": "double fp64",
    "log_frequency": "frequency log_freq",
    "self_critical": "cider reinforce rl scst",
    "sgd_momentum": "momentum",
    "sampling": "multinomial nucleus_sampling random sample",
}

SYNONYMS: Mapping[str, str] = {name: target for target, names in _NAMES.items() for name in names.split()}
