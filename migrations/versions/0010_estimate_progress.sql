-- A scene may be made by several jobs. It is done when as many segments were made as were estimated, or when one of its
-- jobs succeeded and some do not say how many they made.
create view ops.estimate_progress as
select
    scenes.estimate_id,
    scenes.scene_key,
    case
        when outcomes.estimate_id is null then 1.0
        when outcomes.segment_count is null then 0.0
        else greatest(0.0, 1.0 - outcomes.segment_count / cast(scenes.segments_needed as double precision))
    end as left_ratio
from ops.estimate_scenes as scenes
left join ops.estimate_outcomes as outcomes
    on outcomes.estimate_id = scenes.estimate_id and outcomes.scene_key = scenes.scene_key;
comment on view ops.estimate_progress is 'How much of each estimated scene is still to be made: 1 all, 0 nothing.';
