-- How Argo CD judges Journeys, Touchpoints and ExperienceSLOs.
--
-- Health is that of the configuration: a rollout shall not turn red because customers are
-- unhappy. An object with the annotation sojourn.dev/health=customers is judged by them too.

local waiting = {status = "Progressing", message = "Sojourn's manager has not looked at it yet"}

if obj.status == nil or obj.status.conditions == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return waiting
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions) do
  conditions[condition.type] = condition
end

local ready, stalled = conditions["Ready"], conditions["Stalled"]
if ready == nil then
  return waiting
end
if stalled ~= nil and stalled.status == "True" then
  return {status = "Degraded", message = stalled.message}
end
if ready.status ~= "True" then
  return {status = "Progressing", message = ready.message}
end

local annotations = obj.metadata.annotations
if annotations == nil or annotations["sojourn.dev/health"] ~= "customers" then
  return {status = "Healthy", message = ready.message}
end

-- Met of an ExperienceSLO, Healthy of a Journey and a Touchpoint.
local customers = conditions["Met"] or conditions["Healthy"]
if customers == nil then
  return {status = "Progressing", message = "Nothing is known of customers: the manager asks no Prometheus (--prometheus-url)"}
end
if customers.status == "False" then
  return {status = "Degraded", message = customers.message}
end
if customers.status == "True" or customers.reason == "NothingPromised" then
  return {status = "Healthy", message = customers.message}
end
return {status = "Progressing", message = customers.message}
