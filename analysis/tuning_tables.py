"""Columns of the tables that tuning both sides gives, in the schema's words."""

from rlp_sweeps.column import Column

# fmt: off
_IDENTITY = (
    Column("outcome", "str", "", "identity",
           "Column of trials that is compared."),
    Column("arm", "str", "", "identity",
           "The regularized arm."),
    Column("rlp_lambda", "f64", "> 0", "identity",
           "λ of the regularized side; null: tuned as well. Further cell columns that are not "
           "tuned follow.", nullable=True),
)

TUNED = (
    *_IDENTITY,
    Column("estimate", "f64", "of the outcome", "outcome",
           "Arm tuned − control tuned, mean over seeds."),
    Column("ci_low", "f64", "of the outcome", "outcome",
           "Lower end of the 95 % t interval over seeds, widened (`selection.widen`)."),
    Column("ci_high", "f64", "of the outcome", "outcome",
           "Upper end of the same."),
    Column("p_value", "f64", "[0, 1]", "outcome",
           "Two-sided t test of no difference, widened likewise."),
    Column("plain_ci_low", "f64", "of the outcome", "outcome",
           "Lower end of the 95 % t interval that takes the choices as independent: too narrow."),
    Column("plain_ci_high", "f64", "of the outcome", "outcome",
           "Upper end of the same."),
    Column("num_seeds", "i64", "count", "outcome",
           "Seeds the estimate stands on."),
    Column("y_arm", "f64", "of the outcome", "outcome",
           "The tuned arm's outcome, mean over seeds."),
    Column("y_control", "f64", "of the outcome", "outcome",
           "The tuned control's outcome, mean over seeds."),
    Column("budget_arm", "i64", "count", "outcome",
           "Configurations that the arm chose among."),
    Column("budget_control", "i64", "count", "outcome",
           "Configurations that the control chose among."),
    Column("equal_budget_estimate", "f64", "of the outcome", "outcome",
           "Expected outcome of the arm's best of budget_control configurations tried at random "
           "− control tuned; `estimate` itself where the budgets are equal."),
    Column("equal_budget_ci_low", "f64", "of the outcome", "outcome",
           "Lower end of its widened 95 % t interval over seeds."),
    Column("equal_budget_ci_high", "f64", "of the outcome", "outcome",
           "Upper end of the same."),
    Column("chosen_arm", "str", "", "outcome",
           "Configuration that most seeds chose for the arm, rounded; `CHOICES` has it exactly."),
    Column("chosen_control", "str", "", "outcome",
           "Configuration that most seeds chose for the control, rounded."),
    Column("num_chosen_arm", "i64", "count", "outcome",
           "Seeds that chose it."),
    Column("num_chosen_control", "i64", "count", "outcome",
           "Seeds that chose it."),
    Column("num_edge_arm", "i64", "count", "outcome",
           "Seeds whose lr for the arm is the smallest or largest there is."),
    Column("num_edge_control", "i64", "count", "outcome",
           "Seeds whose lr for the control is the smallest or largest there is."),
    Column("is_at_edge", "bool", "", "outcome",
           "A side's lr is at the edge in most seeds: a wider sweep may move the result."),
    Column("num_diverged", "i64", "count", "outcome",
           "Diverged trials among all that were chosen from, each counted once."),
)
"""One row an arm and λ; one more, with λ null, where λ is tuned as well."""

CHOICES = (
    *_IDENTITY,
    Column("side", "str", "", "identity",
           "arm or control."),
    Column("seed", "i64", "count", "identity",
           "The seed left out of the choice."),
    Column("lr", "f64", "per step", "outcome",
           "Chosen learning rate."),
    Column("label_smoothing", "f64", "share, [0, 1)", "outcome",
           "Chosen ε; the chosen weight_decay follows where it varies."),
    Column("chosen_lambda", "f64", "≥ 0", "outcome",
           "λ of the choice; 0 in the control."),
    Column("val_others", "f64", "share, [0, 1]", "outcome",
           "Validation accuracy of the choice, mean over the other seeds."),
    Column("value", "f64", "of the outcome", "outcome",
           "Outcome of the seed left out."),
)
"""One row an arm, λ, side and seed."""

CURVE = (
    *_IDENTITY,
    Column("side", "str", "", "identity",
           "arm, control, or difference: arm − control at the same number tried."),
    Column("num_tried", "i64", "count", "identity",
           "Configurations k tried at random, without replacement."),
    Column("estimate", "f64", "of the outcome", "outcome",
           "Expected outcome of the one of them that validates best, mean over seeds."),
    Column("ci_low", "f64", "of the outcome", "outcome",
           "Lower end of the 95 % t interval over seeds, widened (`selection.widen`)."),
    Column("ci_high", "f64", "of the outcome", "outcome",
           "Upper end of the same."),
    Column("num_seeds", "i64", "count", "outcome",
           "Seeds the estimate stands on."),
)
"""One row an arm, λ, side and number tried."""
# fmt: on
