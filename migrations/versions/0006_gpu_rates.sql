-- What an hour of a GPU costs. A rate holds from its instant until the model's next one; history keeps the rates it had.

create table studio.gpu_rates (
    gpu_model text not null check (gpu_model <> ''),
    valid_from timestamptz not null,
    price_per_gpu_hour double precision not null
        check (price_per_gpu_hour >= 0 and price_per_gpu_hour < 'Infinity'),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    created_at timestamptz not null default now(),
    primary key (gpu_model, valid_from)
);

grant insert, update, delete on studio.gpu_rates to framehouse_api;
