"""Where MLflow's own server does not do what its clients are promised, and Mainspring does.

Test -> what MLflow 3.18 does instead. Against MLflow's server these tests must fail (MLFLOW_CONFORMANCE=mlflow);
against Mainspring they must pass like all others. `docs/mlflow.md` shows this table.
"""

from __future__ import annotations

OURS_IS_BETTER: dict[str, str] = {
    "test_a_batch_with_a_bad_metric_leaves_no_params_and_tags": "500 in place of 400",
    "test_a_batch_with_items_of_a_strange_kind_is_refused": "500 in place of 400, or the item is dropped in silence",
    "test_a_batch_for_a_model_that_is_not_there_leaves_nothing": "the params of a refused batch stay",
    "test_a_location_that_climbs_out_of_the_artifact_root_is_refused": "the location is taken",
    "test_a_rename_to_a_taken_name_is_refused": "BAD_REQUEST with the text of a database error",
    "test_a_renamed_model_is_found_by_its_old_name": "404 by the old name",
    "test_an_infinity_comes_back_as_it_was": "infinities are cut to the greatest finite number",
    "test_a_number_beyond_64_bits_is_refused": "200, and what is stored is not what was sent",
    "test_a_value_of_a_strange_kind_is_refused": "500, or `true` is stored as 1",
    "test_a_word_that_is_no_status_is_refused": "200, and nothing is changed",
    "test_the_same_order_twice_is_refused": "500 with the text of a database error",
    "test_a_page_does_not_shift_when_a_run_is_added_before_it": "a run comes twice",
    "test_a_token_that_is_no_ascii_is_refused": "500",
    "test_archiving_others_is_for_staging_and_production": "500",
    "test_one_metric_of_a_model_on_two_datasets_is_two_metrics": "400 with the text of a database error",
    "test_a_metric_of_a_logged_model_is_not_compared_with_text": "500",
    "test_a_dataset_needs_these_fields": "200, and a dataset without name or source is stored",
    "test_a_time_of_a_strange_kind_is_refused": "500",
    "test_a_body_of_json_that_is_no_object_is_refused": "500",
    "test_a_deep_body_is_no_server_error": "500",
    "test_outputs_of_a_run_may_come_twice": "400 with the text of a database error",
    "test_what_is_no_record_is_refused_and_nothing_is_kept": "500",
}
