-- name: all
select gpu_model, valid_from, price_per_gpu_hour, currency from studio.gpu_rates
order by gpu_model collate "C", valid_from;

-- name: lock
-- One writer at a time: two that begin with different currencies would otherwise both find no other.
lock table studio.gpu_rates in share row exclusive mode;

-- name: other_currency
select currency from studio.gpu_rates 
where currency <> %(currency)s and (gpu_model, valid_from) <> (%(gpu_model)s, %(valid_from)s)
limit 1;

-- name: set
insert into studio.gpu_rates (gpu_model, valid_from, price_per_gpu_hour, currency)
values (%(gpu_model)s, %(valid_from)s, %(price_per_gpu_hour)s, %(currency)s)
on conflict (gpu_model, valid_from) do update
set price_per_gpu_hour = excluded.price_per_gpu_hour, currency = excluded.currency, created_at = now()
returning gpu_model, valid_from, price_per_gpu_hour, currency;

-- name: remove
delete from studio.gpu_rates where gpu_model = %(gpu_model)s and valid_from = %(valid_from)s;

-- name: unpriced_models
select distinct host_gpu_model as gpu_model
from rollup.gpu_time_by_model_daily
where bucket > now() - interval '90 days' and host_gpu_model is not null
    and host_gpu_model not in (select gpu_model from studio.gpu_rates)
order by 1;

-- name: current
select distinct on (gpu_model) gpu_model, price_per_gpu_hour, currency
from studio.gpu_rates
where valid_from <= now()
order by gpu_model, valid_from desc;
