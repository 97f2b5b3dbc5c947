CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE dataset (
    project VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    latest BIGINT NOT NULL,
    rows BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    CONSTRAINT pk_dataset PRIMARY KEY (project, name)
);

CREATE TABLE dataset_version (
    project VARCHAR COLLATE "C" NOT NULL,
    dataset VARCHAR COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    rows BIGINT NOT NULL,
    quarantined BIGINT NOT NULL,
    columns JSONB NOT NULL,
    checks JSONB NOT NULL,
    digest VARCHAR COLLATE "C" NOT NULL,
    profile VARCHAR COLLATE "C" NOT NULL,
    parents JSONB NOT NULL,
    created_at BIGINT NOT NULL,
    delta_version BIGINT NOT NULL,
    source TEXT NOT NULL,
    time_column VARCHAR COLLATE "C" NOT NULL,
    dedup_key VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_dataset_version PRIMARY KEY (project, dataset, number),
    CONSTRAINT uq_dataset_version_id UNIQUE (id)
);

CREATE UNIQUE INDEX uq_dataset_version_key ON dataset_version (project, dataset, dedup_key) WHERE dedup_key != '';

CREATE TABLE feature_materialization (
    id VARCHAR COLLATE "C" NOT NULL,
    project VARCHAR COLLATE "C" NOT NULL,
    view VARCHAR COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    dataset TEXT NOT NULL,
    as_of BIGINT NOT NULL,
    entities BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    CONSTRAINT pk_feature_materialization PRIMARY KEY (id)
);

CREATE INDEX ix_feature_materialization_view ON feature_materialization (project, view, id);

CREATE TABLE feature_view (
    project VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    spec JSONB NOT NULL,
    keys JSONB NOT NULL,
    columns JSONB NOT NULL,
    digest VARCHAR COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_feature_view PRIMARY KEY (project, name, number)
);

CREATE TABLE split (
    project VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    dataset VARCHAR COLLATE "C" NOT NULL,
    dataset_digest VARCHAR COLLATE "C" NOT NULL,
    spec JSONB NOT NULL,
    parts JSONB NOT NULL,
    digest VARCHAR COLLATE "C" NOT NULL,
    assignment VARCHAR COLLATE "C" NOT NULL,
    uses BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_split PRIMARY KEY (project, name, number),
    CONSTRAINT uq_split_project_name_dataset_digest UNIQUE (project, name, dataset, digest)
);

CREATE TABLE split_use (
    project VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    use BIGINT NOT NULL,
    actor VARCHAR COLLATE "C" NOT NULL,
    purpose TEXT NOT NULL,
    at BIGINT NOT NULL,
    CONSTRAINT pk_split_use PRIMARY KEY (project, name, number, use)
);

CREATE TABLE gate_approval (
    project VARCHAR COLLATE "C" NOT NULL,
    verdict VARCHAR COLLATE "C" NOT NULL,
    decision VARCHAR COLLATE "C" NOT NULL,
    role TEXT NOT NULL,
    actor VARCHAR COLLATE "C" NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    digest VARCHAR COLLATE "C" NOT NULL,
    evidence VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_gate_approval PRIMARY KEY (project, verdict, actor)
);

CREATE TABLE verdict (
    project VARCHAR COLLATE "C" NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    gate VARCHAR COLLATE "C" NOT NULL,
    model VARCHAR COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    champion BIGINT,
    outcome VARCHAR COLLATE "C" NOT NULL,
    undecided TEXT NOT NULL,
    checks JSONB NOT NULL,
    spec JSONB NOT NULL,
    n BIGINT NOT NULL,
    data_ref VARCHAR COLLATE "C" NOT NULL,
    use BIGINT NOT NULL,
    alpha FLOAT NOT NULL,
    seed BIGINT NOT NULL,
    candidate_digest VARCHAR COLLATE "C" NOT NULL,
    champion_digest VARCHAR COLLATE "C" NOT NULL,
    idempotency_key VARCHAR COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    label TEXT NOT NULL,
    scores JSONB NOT NULL,
    approve JSONB NOT NULL,
    CONSTRAINT pk_verdict PRIMARY KEY (project, id)
);

CREATE INDEX ix_verdict_data_ref ON verdict (project, data_ref);

CREATE INDEX ix_verdict_model ON verdict (project, model, id);

CREATE UNIQUE INDEX uq_verdict_key ON verdict (project, idempotency_key) WHERE idempotency_key != '';

CREATE TABLE card (
    project VARCHAR COLLATE "C" NOT NULL,
    model VARCHAR COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    digest VARCHAR COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    CONSTRAINT pk_card PRIMARY KEY (project, model, version, revision)
);

CREATE TABLE cycle (
    project VARCHAR COLLATE "C" NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    policy VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    model VARCHAR COLLATE "C" NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    reason TEXT NOT NULL,
    trigger_seq BIGINT NOT NULL,
    as_of BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    pipeline_run VARCHAR COLLATE "C" NOT NULL,
    version BIGINT,
    verdict VARCHAR COLLATE "C" NOT NULL,
    rollout VARCHAR COLLATE "C" NOT NULL,
    note TEXT NOT NULL,
    CONSTRAINT pk_cycle PRIMARY KEY (id)
);

CREATE INDEX ix_cycle_project_deployment_started_at ON cycle (project, deployment, started_at);

CREATE UNIQUE INDEX uq_cycle_open ON cycle (project, deployment) WHERE state IN ('training', 'gating', 'canary');

CREATE TABLE declaration (
    project VARCHAR COLLATE "C" NOT NULL,
    kind VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    spec JSONB NOT NULL,
    by VARCHAR COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    CONSTRAINT pk_declaration PRIMARY KEY (project, kind, name)
);

CREATE TABLE hook_delivery (
    project VARCHAR COLLATE "C" NOT NULL,
    trigger VARCHAR COLLATE "C" NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    CONSTRAINT pk_hook_delivery PRIMARY KEY (project, trigger, key)
);

CREATE TABLE plan_state (
    project VARCHAR COLLATE "C" NOT NULL,
    serial BIGINT NOT NULL,
    holder VARCHAR COLLATE "C" NOT NULL,
    held_by VARCHAR COLLATE "C" NOT NULL,
    held_at BIGINT NOT NULL,
    held_until BIGINT NOT NULL,
    CONSTRAINT pk_plan_state PRIMARY KEY (project)
);

CREATE TABLE policy_switch (
    project VARCHAR COLLATE "C" NOT NULL,
    policy VARCHAR COLLATE "C" NOT NULL,
    enabled SMALLINT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    by VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_policy_switch PRIMARY KEY (project, policy)
);

CREATE TABLE trigger (
    project VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    watches VARCHAR COLLATE "C" NOT NULL,
    spec JSONB NOT NULL,
    since BIGINT NOT NULL,
    mark BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    paused_at BIGINT NOT NULL,
    paused_by VARCHAR COLLATE "C" NOT NULL,
    paused_why TEXT NOT NULL,
    CONSTRAINT pk_trigger PRIMARY KEY (project, name)
);

CREATE TABLE trigger_fire (
    project VARCHAR COLLATE "C" NOT NULL,
    trigger VARCHAR COLLATE "C" NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    cause TEXT NOT NULL,
    outcome VARCHAR COLLATE "C" NOT NULL,
    code VARCHAR COLLATE "C" NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    started VARCHAR COLLATE "C" NOT NULL,
    times BIGINT NOT NULL,
    CONSTRAINT pk_trigger_fire PRIMARY KEY (project, trigger, id)
);

CREATE INDEX ix_trigger_fire_key ON trigger_fire (project, trigger, key);

CREATE TABLE alarm (
    project VARCHAR COLLATE "C" NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    cause VARCHAR COLLATE "C" NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    text TEXT NOT NULL,
    evidence JSONB NOT NULL,
    window_start BIGINT NOT NULL,
    window_end BIGINT NOT NULL,
    raised_at BIGINT NOT NULL,
    acknowledged_at BIGINT NOT NULL,
    acknowledged_by TEXT NOT NULL,
    note TEXT NOT NULL,
    escalated_at BIGINT NOT NULL,
    closed_at BIGINT NOT NULL,
    closed_by TEXT NOT NULL,
    silence VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_alarm PRIMARY KEY (project, id)
);

CREATE INDEX ix_alarm_deployment ON alarm (project, deployment, id);

CREATE TABLE awaiting_label (
    project VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    prediction_id VARCHAR COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    event_at BIGINT NOT NULL,
    score FLOAT,
    answer TEXT NOT NULL,
    is_labelled SMALLINT NOT NULL,
    segments TEXT NOT NULL,
    part TEXT NOT NULL,
    low FLOAT,
    high FLOAT,
    label FLOAT,
    cells TEXT NOT NULL,
    CONSTRAINT pk_awaiting_label PRIMARY KEY (project, deployment, prediction_id)
);

CREATE INDEX ix_awaiting_label_event_at ON awaiting_label (project, deployment, event_at);

CREATE TABLE early_label (
    project VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    prediction_id VARCHAR COLLATE "C" NOT NULL,
    value JSONB NOT NULL,
    at BIGINT NOT NULL,
    CONSTRAINT pk_early_label PRIMARY KEY (project, deployment, prediction_id)
);

CREATE TABLE feedback_window (
    project VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    kind VARCHAR COLLATE "C" NOT NULL,
    start BIGINT NOT NULL,
    rows BIGINT NOT NULL,
    numbers BIGINT NOT NULL,
    total FLOAT NOT NULL,
    squares FLOAT NOT NULL,
    CONSTRAINT pk_feedback_window PRIMARY KEY (project, deployment, kind, start)
);

CREATE TABLE monitor (
    project VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    watermark BIGINT NOT NULL,
    predictions BIGINT NOT NULL,
    labels BIGINT NOT NULL,
    position TEXT NOT NULL,
    feedback_seq BIGINT NOT NULL,
    CONSTRAINT pk_monitor PRIMARY KEY (project, deployment)
);

CREATE TABLE monitor_judgement (
    project VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    cause VARCHAR COLLATE "C" NOT NULL,
    window_end BIGINT NOT NULL,
    window_start BIGINT NOT NULL,
    rows BIGINT NOT NULL,
    evidence FLOAT NOT NULL,
    level FLOAT NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    details JSONB NOT NULL,
    CONSTRAINT pk_monitor_judgement PRIMARY KEY (project, deployment, version, cause, window_end)
);

CREATE TABLE monitor_version (
    project VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    model VARCHAR COLLATE "C" NOT NULL,
    task VARCHAR COLLATE "C" NOT NULL,
    reference VARCHAR COLLATE "C" NOT NULL,
    loss VARCHAR COLLATE "C" NOT NULL,
    reference_loss FLOAT NOT NULL,
    problem TEXT NOT NULL,
    drift_until BIGINT NOT NULL,
    loss_until BIGINT NOT NULL,
    state JSONB NOT NULL,
    CONSTRAINT pk_monitor_version PRIMARY KEY (project, deployment, version)
);

CREATE TABLE monitor_window (
    project VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    start BIGINT NOT NULL,
    rows BIGINT NOT NULL,
    sketch BYTEA NOT NULL,
    CONSTRAINT pk_monitor_window PRIMARY KEY (project, deployment, version, start)
);

CREATE TABLE performance_window (
    project VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    segment VARCHAR COLLATE "C" NOT NULL,
    start BIGINT NOT NULL,
    outcomes JSONB NOT NULL,
    CONSTRAINT pk_performance_window PRIMARY KEY (project, deployment, version, segment, start)
);

CREATE TABLE service_window (
    project VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    start BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    counts JSONB NOT NULL,
    CONSTRAINT pk_service_window PRIMARY KEY (project, deployment, version, start)
);

CREATE INDEX ix_service_window_start ON service_window (project, deployment, start);

CREATE TABLE silence (
    project VARCHAR COLLATE "C" NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    cause VARCHAR COLLATE "C" NOT NULL,
    "column" TEXT NOT NULL,
    until BIGINT NOT NULL,
    why TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    ended_at BIGINT NOT NULL,
    ended_by TEXT NOT NULL,
    CONSTRAINT pk_silence PRIMARY KEY (project, id)
);

CREATE TABLE usage_window (
    project VARCHAR COLLATE "C" NOT NULL,
    start BIGINT NOT NULL,
    worker VARCHAR COLLATE "C" NOT NULL,
    pid BIGINT NOT NULL,
    seconds FLOAT NOT NULL,
    cores FLOAT NOT NULL,
    memory_mb FLOAT NOT NULL,
    models VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_usage_window PRIMARY KEY (project, start, worker)
);

CREATE TABLE pipeline_run (
    project VARCHAR COLLATE "C" NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    pipeline VARCHAR COLLATE "C" NOT NULL,
    target TEXT NOT NULL,
    params JSONB NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    engine VARCHAR COLLATE "C" NOT NULL,
    job_id VARCHAR COLLATE "C" NOT NULL,
    attempt BIGINT NOT NULL,
    tracked SMALLINT NOT NULL,
    cache SMALLINT NOT NULL,
    pausing SMALLINT NOT NULL,
    priority BIGINT NOT NULL,
    actor TEXT NOT NULL,
    pins JSONB NOT NULL,
    code JSONB NOT NULL,
    result JSONB,
    error TEXT NOT NULL,
    error_code VARCHAR COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    CONSTRAINT pk_pipeline_run PRIMARY KEY (project, id)
);

CREATE INDEX ix_pipeline_run_created_at ON pipeline_run (project, created_at);

CREATE INDEX ix_pipeline_run_pipeline ON pipeline_run (project, pipeline, created_at);

CREATE INDEX ix_pipeline_run_state ON pipeline_run (state);

CREATE TABLE search_study (
    project VARCHAR COLLATE "C" NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    pipeline VARCHAR COLLATE "C" NOT NULL,
    target TEXT NOT NULL,
    search JSONB NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    winner VARCHAR COLLATE "C" NOT NULL,
    error TEXT NOT NULL,
    job_id VARCHAR COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    CONSTRAINT pk_search_study PRIMARY KEY (project, id)
);

CREATE INDEX ix_search_study_created_at ON search_study (project, created_at);

CREATE TABLE search_trial (
    project VARCHAR COLLATE "C" NOT NULL,
    study VARCHAR COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    params JSONB NOT NULL,
    run VARCHAR COLLATE "C" NOT NULL,
    tries BIGINT NOT NULL,
    values JSONB NOT NULL,
    steps JSONB NOT NULL,
    note TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    CONSTRAINT pk_search_trial PRIMARY KEY (project, study, number)
);

CREATE TABLE step_cache (
    project VARCHAR COLLATE "C" NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    output JSONB NOT NULL,
    reads JSONB NOT NULL,
    run VARCHAR COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_step_cache PRIMARY KEY (project, key)
);

CREATE TABLE step_run (
    project VARCHAR COLLATE "C" NOT NULL,
    run VARCHAR COLLATE "C" NOT NULL,
    step VARCHAR COLLATE "C" NOT NULL,
    parent VARCHAR COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    function VARCHAR COLLATE "C" NOT NULL,
    plan JSONB NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    attempt BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    parts JSONB,
    output JSONB,
    error TEXT NOT NULL,
    error_code VARCHAR COLLATE "C" NOT NULL,
    log VARCHAR COLLATE "C" NOT NULL,
    source VARCHAR COLLATE "C" NOT NULL,
    cpu_us BIGINT NOT NULL,
    memory BIGINT NOT NULL,
    decision JSONB,
    started_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    CONSTRAINT pk_step_run PRIMARY KEY (project, run, step)
);

CREATE INDEX ix_step_run_asked ON step_run (project, run) WHERE state = 'asked';

CREATE INDEX ix_step_run_making ON step_run (project, key) WHERE state = 'running';

CREATE TABLE alias_change (
    seq BIGINT GENERATED BY DEFAULT AS IDENTITY,
    model BIGINT NOT NULL,
    alias VARCHAR COLLATE "C" NOT NULL,
    version BIGINT,
    before BIGINT,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT pk_alias_change PRIMARY KEY (seq)
);

CREATE INDEX ix_alias_change_model_alias_seq ON alias_change (model, alias, seq);

CREATE TABLE model (
    serial BIGINT GENERATED BY DEFAULT AS IDENTITY,
    project VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    description TEXT NOT NULL,
    counted BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    CONSTRAINT pk_model PRIMARY KEY (serial)
);

CREATE INDEX ix_model_project_name ON model (project, name);

CREATE UNIQUE INDEX uq_model_living_name ON model (project, name) WHERE deleted_at IS NULL;

CREATE TABLE model_redirect (
    project VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    model BIGINT NOT NULL,
    at BIGINT NOT NULL,
    CONSTRAINT pk_model_redirect PRIMARY KEY (project, name)
);

CREATE INDEX ix_model_redirect_model ON model_redirect (model);

CREATE TABLE model_tag (
    model BIGINT NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_model_tag PRIMARY KEY (model, key)
);

CREATE TABLE model_version (
    serial BIGINT GENERATED BY DEFAULT AS IDENTITY,
    project VARCHAR COLLATE "C" NOT NULL,
    model BIGINT NOT NULL,
    number BIGINT NOT NULL,
    key VARCHAR COLLATE "C",
    digest VARCHAR COLLATE "C" NOT NULL,
    manifest TEXT NOT NULL,
    signature JSONB,
    flavour VARCHAR COLLATE "C" NOT NULL,
    task VARCHAR COLLATE "C" NOT NULL,
    classes JSONB NOT NULL,
    example JSONB NOT NULL,
    run_id VARCHAR COLLATE "C" NOT NULL,
    datasets JSONB NOT NULL,
    reference TEXT NOT NULL,
    metrics JSONB NOT NULL,
    size_bytes BIGINT NOT NULL,
    environment JSONB NOT NULL,
    signed_by VARCHAR COLLATE "C" NOT NULL,
    seal TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    description TEXT NOT NULL,
    source VARCHAR COLLATE "C" NOT NULL,
    location TEXT NOT NULL,
    run_link TEXT NOT NULL,
    status VARCHAR COLLATE "C" NOT NULL,
    status_message TEXT NOT NULL,
    stage VARCHAR COLLATE "C" NOT NULL,
    model_id VARCHAR COLLATE "C" NOT NULL,
    deleted_at BIGINT,
    CONSTRAINT pk_model_version PRIMARY KEY (serial),
    CONSTRAINT uq_model_version_model_key UNIQUE (model, key),
    CONSTRAINT uq_model_version_model_number UNIQUE (model, number)
);

CREATE INDEX ix_model_version_digest ON model_version (digest);

CREATE INDEX ix_model_version_project_run_id ON model_version (project, run_id);

CREATE INDEX ix_model_version_project_updated_at ON model_version (project, updated_at);

CREATE TABLE model_version_tag (
    version BIGINT NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_model_version_tag PRIMARY KEY (version, key)
);

CREATE TABLE stage_change (
    seq BIGINT GENERATED BY DEFAULT AS IDENTITY,
    model BIGINT NOT NULL,
    version BIGINT NOT NULL,
    stage VARCHAR COLLATE "C" NOT NULL,
    before VARCHAR COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT pk_stage_change PRIMARY KEY (seq)
);

CREATE INDEX ix_stage_change_model_version_seq ON stage_change (model, version, seq);

CREATE TABLE webhook (
    id VARCHAR COLLATE "C" NOT NULL,
    project VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    url TEXT NOT NULL,
    events JSONB NOT NULL,
    description TEXT NOT NULL,
    status VARCHAR COLLATE "C" NOT NULL,
    secret TEXT NOT NULL,
    since BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT pk_webhook PRIMARY KEY (id)
);

CREATE INDEX ix_webhook_project_id ON webhook (project, id);

CREATE TABLE bandit (
    project VARCHAR COLLATE "C" NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    versions JSONB NOT NULL,
    spec JSONB NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    arms JSONB NOT NULL,
    learned_at BIGINT NOT NULL,
    CONSTRAINT pk_bandit PRIMARY KEY (project, id)
);

CREATE INDEX ix_bandit_project_deployment_id ON bandit (project, deployment, id);

CREATE UNIQUE INDEX uq_bandit_running ON bandit (project, deployment) WHERE state = 'running';

CREATE TABLE deployment (
    project VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    endpoint VARCHAR COLLATE "C" NOT NULL,
    model VARCHAR COLLATE "C" NOT NULL,
    traffic JSONB NOT NULL,
    options JSONB NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT pk_deployment PRIMARY KEY (project, name),
    CONSTRAINT uq_deployment_endpoint UNIQUE (endpoint)
);

CREATE TABLE feedback (
    project VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    prediction_id VARCHAR COLLATE "C" NOT NULL,
    kind VARCHAR COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    number FLOAT,
    text TEXT,
    at BIGINT NOT NULL,
    stored_at BIGINT NOT NULL,
    CONSTRAINT pk_feedback PRIMARY KEY (project, deployment, prediction_id, kind)
);

CREATE UNIQUE INDEX ix_feedback_seq ON feedback (project, deployment, seq);

CREATE TABLE replay (
    project VARCHAR COLLATE "C" NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    since BIGINT,
    until BIGINT,
    state VARCHAR COLLATE "C" NOT NULL,
    rows BIGINT NOT NULL,
    done BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    beat_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    digest TEXT NOT NULL,
    report JSONB NOT NULL,
    CONSTRAINT pk_replay PRIMARY KEY (project, id)
);

CREATE INDEX ix_replay_project_deployment_id ON replay (project, deployment, id);

CREATE TABLE review (
    project VARCHAR COLLATE "C" NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    prediction_id VARCHAR COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    marks JSONB NOT NULL,
    answer JSONB NOT NULL,
    asked_at BIGINT NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    decision JSONB NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    note TEXT NOT NULL,
    CONSTRAINT pk_review PRIMARY KEY (project, id),
    CONSTRAINT uq_review_project_deployment_prediction_id UNIQUE (project, deployment, prediction_id)
);

CREATE INDEX ix_review_project_state_id ON review (project, state, id);

CREATE TABLE rollout (
    project VARCHAR COLLATE "C" NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    champion BIGINT NOT NULL,
    version BIGINT NOT NULL,
    share FLOAT NOT NULL,
    step BIGINT NOT NULL,
    spec JSONB NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    decision JSONB NOT NULL,
    standing JSONB NOT NULL,
    CONSTRAINT pk_rollout PRIMARY KEY (project, id)
);

CREATE INDEX ix_rollout_project_deployment_id ON rollout (project, deployment, id);

CREATE UNIQUE INDEX uq_rollout_open ON rollout (project, deployment) WHERE state IN ('running', 'paused', 'held');

CREATE TABLE traffic_change (
    seq BIGINT GENERATED BY DEFAULT AS IDENTITY,
    project VARCHAR COLLATE "C" NOT NULL,
    deployment VARCHAR COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    traffic JSONB NOT NULL,
    redact JSONB NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT pk_traffic_change PRIMARY KEY (seq)
);

CREATE INDEX ix_traffic_change_project_deployment_seq ON traffic_change (project, deployment, seq);

CREATE TABLE consumer_offset (
    consumer VARCHAR COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    CONSTRAINT pk_consumer_offset PRIMARY KEY (consumer)
);

CREATE TABLE event (
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    project VARCHAR COLLATE "C" NOT NULL,
    kind VARCHAR COLLATE "C" NOT NULL,
    subject VARCHAR COLLATE "C" NOT NULL,
    payload JSONB NOT NULL,
    request_id TEXT NOT NULL,
    CONSTRAINT pk_event PRIMARY KEY (seq)
);

CREATE INDEX ix_event_kind_seq ON event (kind, seq);

CREATE INDEX ix_event_project_seq ON event (project, seq);

CREATE INDEX ix_event_subject_seq ON event (subject, seq);

CREATE FUNCTION event_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the table event is append-only'; END $$;

CREATE TRIGGER event_no_change BEFORE UPDATE OR DELETE ON event FOR EACH ROW EXECUTE FUNCTION event_refuse();

CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON event FOR EACH STATEMENT EXECUTE FUNCTION event_refuse();

CREATE TABLE job (
    id VARCHAR COLLATE "C" NOT NULL,
    project VARCHAR COLLATE "C" NOT NULL,
    actor TEXT NOT NULL,
    queue VARCHAR COLLATE "C" NOT NULL,
    kind VARCHAR COLLATE "C" NOT NULL,
    payload JSONB NOT NULL,
    dedup_key VARCHAR COLLATE "C" NOT NULL,
    job_group VARCHAR COLLATE "C" NOT NULL,
    priority BIGINT NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    attempt BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    run_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    worker TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    result JSONB,
    error TEXT NOT NULL,
    CONSTRAINT pk_job PRIMARY KEY (id)
);

CREATE INDEX ix_job_next ON job (state, queue, priority, run_at, created_at, id);

CREATE INDEX ix_job_project_created_at ON job (project, created_at);

CREATE INDEX ix_job_state_lease_until ON job (state, lease_until);

CREATE UNIQUE INDEX uq_job_unfinished_key ON job (project, queue, dedup_key) WHERE dedup_key != '' AND state IN ('queued', 'running');

CREATE TABLE queue_control (
    queue VARCHAR COLLATE "C" NOT NULL,
    mode TEXT NOT NULL,
    running_limit BIGINT NOT NULL,
    group_limit BIGINT NOT NULL,
    CONSTRAINT pk_queue_control PRIMARY KEY (queue)
);

CREATE TABLE queue_quota (
    queue VARCHAR COLLATE "C" NOT NULL,
    project VARCHAR COLLATE "C" NOT NULL,
    running_limit BIGINT NOT NULL,
    CONSTRAINT pk_queue_quota PRIMARY KEY (queue, project)
);

CREATE TABLE queue_worker (
    name VARCHAR COLLATE "C" NOT NULL,
    host TEXT NOT NULL,
    queues JSONB NOT NULL,
    threads BIGINT NOT NULL,
    has JSONB NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    CONSTRAINT pk_queue_worker PRIMARY KEY (name)
);

CREATE TABLE seal (
    number BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    count BIGINT NOT NULL,
    root TEXT NOT NULL,
    previous TEXT NOT NULL,
    at BIGINT NOT NULL,
    key TEXT NOT NULL,
    signature TEXT NOT NULL,
    CONSTRAINT pk_seal PRIMARY KEY (number)
);

CREATE TABLE arrival (
    project VARCHAR COLLATE "C" NOT NULL,
    source VARCHAR COLLATE "C" NOT NULL,
    subject VARCHAR COLLATE "C" NOT NULL,
    stamp VARCHAR COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    CONSTRAINT pk_arrival PRIMARY KEY (project, source, subject)
);

CREATE TABLE artifact (
    project VARCHAR COLLATE "C" NOT NULL,
    path VARCHAR COLLATE "C" NOT NULL,
    digest VARCHAR COLLATE "C" NOT NULL,
    size_bytes BIGINT NOT NULL,
    at BIGINT NOT NULL,
    CONSTRAINT pk_artifact PRIMARY KEY (project, path)
);

CREATE INDEX ix_artifact_digest ON artifact (digest);

CREATE TABLE assessment (
    trace BIGINT NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    content JSONB NOT NULL,
    kind VARCHAR COLLATE "C" NOT NULL,
    value TEXT,
    number FLOAT,
    CONSTRAINT pk_assessment PRIMARY KEY (trace, id)
);

CREATE TABLE evaluation_record (
    evaluation_set BIGINT NOT NULL,
    inputs_digest VARCHAR COLLATE "C" NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    content JSONB NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    created_by VARCHAR COLLATE "C" NOT NULL,
    updated_by VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_evaluation_record PRIMARY KEY (evaluation_set, inputs_digest)
);

CREATE INDEX ix_evaluation_record_evaluation_set_id ON evaluation_record (evaluation_set, id);

CREATE TABLE evaluation_set (
    number BIGINT GENERATED BY DEFAULT AS IDENTITY,
    id VARCHAR COLLATE "C" NOT NULL,
    project VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    created_by VARCHAR COLLATE "C" NOT NULL,
    updated_by VARCHAR COLLATE "C" NOT NULL,
    schema JSONB,
    size BIGINT NOT NULL,
    CONSTRAINT pk_evaluation_set PRIMARY KEY (number),
    CONSTRAINT uq_evaluation_set_id UNIQUE (id)
);

CREATE INDEX ix_evaluation_set_project_created_at ON evaluation_set (project, created_at);

CREATE TABLE evaluation_set_experiment (
    evaluation_set BIGINT NOT NULL,
    experiment BIGINT NOT NULL,
    CONSTRAINT pk_evaluation_set_experiment PRIMARY KEY (evaluation_set, experiment)
);

CREATE INDEX ix_evaluation_set_experiment_experiment ON evaluation_set_experiment (experiment);

CREATE TABLE evaluation_set_tag (
    evaluation_set BIGINT NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    value VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_evaluation_set_tag PRIMARY KEY (evaluation_set, key)
);

CREATE TABLE experiment (
    number BIGINT GENERATED BY DEFAULT AS IDENTITY,
    id VARCHAR COLLATE "C" NOT NULL,
    project VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    location TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    CONSTRAINT pk_experiment PRIMARY KEY (number),
    CONSTRAINT uq_experiment_project_id UNIQUE (project, id),
    CONSTRAINT uq_experiment_project_name UNIQUE (project, name)
);

CREATE TABLE experiment_tag (
    experiment BIGINT NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    value VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_experiment_tag PRIMARY KEY (experiment, key)
);

CREATE TABLE input_dataset (
    number BIGINT GENERATED BY DEFAULT AS IDENTITY,
    experiment BIGINT NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    digest VARCHAR COLLATE "C" NOT NULL,
    source_type VARCHAR COLLATE "C" NOT NULL,
    source TEXT NOT NULL,
    schema TEXT NOT NULL,
    profile TEXT NOT NULL,
    CONSTRAINT pk_input_dataset PRIMARY KEY (number),
    CONSTRAINT uq_input_dataset_experiment_name_digest UNIQUE (experiment, name, digest)
);

CREATE INDEX ix_input_dataset_source ON input_dataset (source);

CREATE TABLE logged_model (
    number BIGINT GENERATED BY DEFAULT AS IDENTITY,
    id VARCHAR COLLATE "C" NOT NULL,
    project VARCHAR COLLATE "C" NOT NULL,
    experiment BIGINT NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    kind VARCHAR COLLATE "C" NOT NULL,
    status VARCHAR COLLATE "C" NOT NULL,
    run_id VARCHAR COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    CONSTRAINT pk_logged_model PRIMARY KEY (number),
    CONSTRAINT uq_logged_model_id UNIQUE (id)
);

CREATE INDEX ix_logged_model_experiment_created_at_id ON logged_model (experiment, created_at, id);

CREATE INDEX ix_logged_model_run_id ON logged_model (run_id);

CREATE TABLE logged_model_metric (
    model BIGINT NOT NULL,
    key BIGINT NOT NULL,
    run BIGINT NOT NULL,
    dataset_name VARCHAR COLLATE "C" NOT NULL,
    dataset_digest VARCHAR COLLATE "C" NOT NULL,
    step BIGINT NOT NULL,
    at BIGINT NOT NULL,
    sort BIGINT NOT NULL,
    value FLOAT NOT NULL,
    CONSTRAINT pk_logged_model_metric PRIMARY KEY (model, key, run, dataset_name, dataset_digest)
);

CREATE INDEX ix_logged_model_metric_run ON logged_model_metric (run);

CREATE TABLE logged_model_param (
    model BIGINT NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    value VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_logged_model_param PRIMARY KEY (model, key)
);

CREATE TABLE logged_model_tag (
    model BIGINT NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    value VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_logged_model_tag PRIMARY KEY (model, key)
);

CREATE TABLE metric (
    run BIGINT NOT NULL,
    key BIGINT NOT NULL,
    step BIGINT NOT NULL,
    at BIGINT NOT NULL,
    sort BIGINT NOT NULL,
    value FLOAT NOT NULL,
    CONSTRAINT pk_metric PRIMARY KEY (run, key, step, at, sort, value)
);

CREATE TABLE metric_column (
    key BIGINT NOT NULL,
    block BIGINT NOT NULL,
    runs BYTEA NOT NULL,
    numbers BYTEA NOT NULL,
    CONSTRAINT pk_metric_column PRIMARY KEY (key, block)
);

CREATE TABLE metric_column_late (
    run BIGINT NOT NULL,
    turn BIGINT NOT NULL,
    CONSTRAINT pk_metric_column_late PRIMARY KEY (run, turn)
);

CREATE TABLE metric_column_state (
    turn BIGINT NOT NULL,
    announced BIGINT NOT NULL,
    built BIGINT NOT NULL,
    CONSTRAINT pk_metric_column_state PRIMARY KEY (turn)
);

CREATE TABLE metric_key (
    number BIGINT GENERATED BY DEFAULT AS IDENTITY,
    experiment BIGINT NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_metric_key PRIMARY KEY (number),
    CONSTRAINT uq_metric_key_experiment_name UNIQUE (experiment, name)
);

CREATE TABLE metric_latest (
    run BIGINT NOT NULL,
    key BIGINT NOT NULL,
    step BIGINT NOT NULL,
    at BIGINT NOT NULL,
    sort BIGINT NOT NULL,
    value FLOAT NOT NULL,
    CONSTRAINT pk_metric_latest PRIMARY KEY (run, key)
);

CREATE INDEX ix_metric_latest_key_sort_value ON metric_latest (key, sort, value) INCLUDE (run);

CREATE TABLE param (
    run BIGINT NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    value VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_param PRIMARY KEY (run, key)
);

CREATE INDEX ix_param_key_long ON param (key) WHERE length(value) > 100;

CREATE INDEX ix_param_key_value ON param (key, value) WHERE length(value) <= 100;

CREATE TABLE run (
    number BIGINT GENERATED BY DEFAULT AS IDENTITY,
    id VARCHAR COLLATE "C" NOT NULL,
    project VARCHAR COLLATE "C" NOT NULL,
    experiment BIGINT NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    parent VARCHAR COLLATE "C" NOT NULL,
    status VARCHAR COLLATE "C" NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    duration BIGINT GENERATED ALWAYS AS (ended_at - started_at) STORED,
    deleted_at BIGINT,
    seed BIGINT,
    created_by VARCHAR COLLATE "C" NOT NULL,
    user_id VARCHAR COLLATE "C" NOT NULL,
    code JSONB,
    environment JSONB,
    CONSTRAINT pk_run PRIMARY KEY (number),
    CONSTRAINT uq_run_id UNIQUE (id)
);

CREATE INDEX ix_run_deleted_at ON run (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE INDEX ix_run_experiment_duration ON run (experiment, duration);

CREATE INDEX ix_run_experiment_ended_at ON run (experiment, ended_at);

CREATE INDEX ix_run_experiment_name ON run (experiment, name);

CREATE INDEX ix_run_experiment_started_at_id ON run (experiment, started_at, id);

CREATE INDEX ix_run_experiment_status_started_at ON run (experiment, status, started_at);

CREATE INDEX ix_run_parent ON run (parent);

CREATE INDEX ix_run_project_started_at_id ON run (project, started_at, id);

CREATE TABLE run_input (
    run BIGINT NOT NULL,
    dataset BIGINT NOT NULL,
    context VARCHAR COLLATE "C" NOT NULL,
    tags JSONB NOT NULL,
    CONSTRAINT pk_run_input PRIMARY KEY (run, dataset, context)
);

CREATE INDEX ix_run_input_dataset ON run_input (dataset);

CREATE TABLE run_model (
    run BIGINT NOT NULL,
    side VARCHAR COLLATE "C" NOT NULL,
    model_id VARCHAR COLLATE "C" NOT NULL,
    step BIGINT NOT NULL,
    CONSTRAINT pk_run_model PRIMARY KEY (run, side, model_id)
);

CREATE INDEX ix_run_model_model_id ON run_model (model_id);

CREATE TABLE run_view (
    project VARCHAR COLLATE "C" NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    experiment VARCHAR COLLATE "C" NOT NULL,
    filter TEXT NOT NULL,
    order_by JSONB NOT NULL,
    columns JSONB NOT NULL,
    changed_at BIGINT NOT NULL,
    changed_by VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_run_view PRIMARY KEY (project, name)
);

CREATE TABLE scorer (
    experiment BIGINT NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    content TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_scorer PRIMARY KEY (experiment, name, version)
);

CREATE TABLE span (
    trace BIGINT NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    started_ns BIGINT NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    kind VARCHAR COLLATE "C" NOT NULL,
    status VARCHAR COLLATE "C" NOT NULL,
    content TEXT NOT NULL,
    CONSTRAINT pk_span PRIMARY KEY (trace, id)
);

CREATE TABLE tag (
    run BIGINT NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    value VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_tag PRIMARY KEY (run, key)
);

CREATE INDEX ix_tag_key_long ON tag (key) WHERE length(value) > 100;

CREATE INDEX ix_tag_key_value ON tag (key, value) WHERE length(value) <= 100;

CREATE TABLE trace (
    number BIGINT GENERATED BY DEFAULT AS IDENTITY,
    id VARCHAR COLLATE "C" NOT NULL,
    project VARCHAR COLLATE "C" NOT NULL,
    experiment BIGINT NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    run_id VARCHAR COLLATE "C" NOT NULL,
    client_id VARCHAR COLLATE "C" NOT NULL,
    started_at BIGINT NOT NULL,
    duration_us BIGINT,
    asked TEXT NOT NULL,
    answered TEXT NOT NULL,
    told SMALLINT NOT NULL,
    CONSTRAINT pk_trace PRIMARY KEY (number),
    CONSTRAINT uq_trace_project_id UNIQUE (project, id)
);

CREATE INDEX ix_trace_experiment_started_at_id ON trace (experiment, started_at, id);

CREATE TABLE trace_link (
    trace BIGINT NOT NULL,
    kind VARCHAR COLLATE "C" NOT NULL,
    target VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_trace_link PRIMARY KEY (trace, kind, target)
);

CREATE INDEX ix_trace_link_kind_target ON trace_link (kind, target);

CREATE TABLE trace_metadata (
    trace BIGINT NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    value VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_trace_metadata PRIMARY KEY (trace, key)
);

CREATE TABLE trace_tag (
    trace BIGINT NOT NULL,
    key VARCHAR COLLATE "C" NOT NULL,
    value VARCHAR COLLATE "C" NOT NULL,
    CONSTRAINT pk_trace_tag PRIMARY KEY (trace, key)
);

CREATE TABLE leaderboard (
    project VARCHAR COLLATE "C" NOT NULL,
    id VARCHAR COLLATE "C" NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    dataset VARCHAR COLLATE "C" NOT NULL,
    target TEXT NOT NULL,
    plan JSONB NOT NULL,
    spent_us BIGINT NOT NULL,
    version BIGINT NOT NULL,
    test JSONB NOT NULL,
    test_use BIGINT NOT NULL,
    error TEXT NOT NULL,
    job_id VARCHAR COLLATE "C" NOT NULL,
    attempt BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    CONSTRAINT pk_leaderboard PRIMARY KEY (project, id)
);

CREATE INDEX ix_leaderboard_created_at ON leaderboard (project, created_at);

CREATE INDEX ix_leaderboard_state ON leaderboard (state);

CREATE TABLE leaderboard_candidate (
    project VARCHAR COLLATE "C" NOT NULL,
    leaderboard VARCHAR COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    name VARCHAR COLLATE "C" NOT NULL,
    family VARCHAR COLLATE "C" NOT NULL,
    params JSONB NOT NULL,
    state VARCHAR COLLATE "C" NOT NULL,
    run VARCHAR COLLATE "C" NOT NULL,
    answers VARCHAR COLLATE "C" NOT NULL,
    measured JSONB NOT NULL,
    behind JSONB NOT NULL,
    note TEXT NOT NULL,
    CONSTRAINT pk_leaderboard_candidate PRIMARY KEY (project, leaderboard, position)
);

INSERT INTO alembic_version (version_num) VALUES ('0001') RETURNING alembic_version.version_num;
