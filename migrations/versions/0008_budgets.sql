-- What may be spent, what was submitted and is not spent yet, and which levels were crossed.

create table studio.budgets (
    id integer generated always as identity primary key,
    name text not null unique check (name <> ''),
    project_id integer references studio.projects (id),
    quantity text not null check (quantity in ('gpu_hours', 'cost', 'disk_gb')),
    amount double precision not null check (amount > 0 and amount < 'Infinity'),
    period text not null check (period in ('day', 'week', 'month', 'quarter', 'year', 'once')),
    starts_at timestamptz,
    ends_at timestamptz,
    warn_ratio double precision not null check (warn_ratio > 0 and warn_ratio < 'Infinity'),
    block_ratio double precision check (block_ratio >= warn_ratio and block_ratio < 'Infinity'),
    archived_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- The calendar says when a recurring period begins and ends, people when the one of `once` does.
    constraint budgets_once_has_its_span check (
        case when period = 'once' then starts_at is not null and ends_at is not null and starts_at < ends_at
             else starts_at is null and ends_at is null end)
);
comment on table studio.budgets is 'What may be spent in a period, by a project or (project_id null) the whole studio.';
comment on column studio.budgets.amount is 'In the unit that quantity says; cost in the one currency of studio.gpu_rates.';
comment on column studio.budgets.warn_ratio is 'From above which share of the amount on people are warned.';
comment on column studio.budgets.block_ratio is 'From above which share on submissions are refused; null: never.';
create trigger touch_updated_at before update on studio.budgets
    for each row execute function studio.touch_updated_at();
create trigger refuse_delete before delete on studio.budgets
    for each row execute function studio.refuse_delete();
create trigger refuse_truncate before truncate on studio.budgets
    for each statement execute function studio.refuse_delete();

create table ops.commitments (
    estimate_id uuid primary key references ops.estimates (id),
    project text check (project <> ''),
    committed_at timestamptz not null default now(),
    released_at timestamptz,
    finished_at timestamptz
);
create index commitments_open on ops.commitments (project) where released_at is null and finished_at is null;
comment on table ops.commitments is 'Estimates that were submitted: what they predict is spoken for until it is spent.';
comment on column ops.commitments.finished_at is 'When each of its scenes was found to have an outcome.';

create table ops.budget_crossings (
    id bigint generated always as identity primary key,
    budget_id integer not null references studio.budgets (id),
    level text not null check (level in ('warn', 'block')),
    period_starts_at timestamptz not null,
    estimate_id uuid references ops.estimates (id),
    quantity text not null,
    amount double precision not null,
    spent double precision,
    committed double precision not null,
    asked double precision,
    is_refused boolean not null,
    crossed_at timestamptz not null default now()
);
-- A level is crossed once in a period, and anew when the amount is another one. Every refusal is kept.
create unique index budget_crossings_once on ops.budget_crossings
    (budget_id, period_starts_at, level, quantity, amount) where not is_refused;
comment on table ops.budget_crossings is 'When a budget came above a level, and which submissions it refused.';
comment on column ops.budget_crossings.estimate_id is 'The submission that did it; null: what was spent did.';
comment on column ops.budget_crossings.spent is 'What was known of it then; null: nothing was.';

grant insert, update on studio.budgets to framehouse_api;
grant insert, update on ops.commitments to framehouse_api;
grant insert on ops.budget_crossings to framehouse_api;
