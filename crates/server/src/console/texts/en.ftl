# The console's texts in English. Every text of this file is in ja.ftl, too; a test sees to it.

## Around every page
skip-to-content = Skip to content
nav = Navigation
nav-services = Services
project = Project
language = Language
go = Go
sign-out = Sign out

## Signing in
sign-in = Sign in
sign-in-title = Sign in to homerun
sign-in-token = Access token
sign-in-how = This prints one, on homerun's machine:
sign-in-wrong = This token is not valid, or has expired. Print a new one and try again.

## When something fails
error-title = This page cannot be shown
error-home = To the services
error-form-secret = The form has expired or does not come from this console. Go back, load the page again and send it once more. Nothing was changed.

## Words
name = Name
state = State
region = Region
all-regions = All regions
gpu = GPU
gpu-type = GPU type
gpu-count = Number of GPUs
instance = Instance
instances = Instances
requests-per-second = Requests/s
last-deployed = Last deployed
deployed = Deployed
deployed-by = Deployed by
url = URL
none = None
on = On
off = Off
search = Search
delete = Delete
traffic = Traffic
tags = Tags
latest = Latest
since = Since
revision = Revision
seconds = { $seconds } s
simulated = simulated
simulated-why = There is no such device. homerun gives instances a stand-in, so that everything around GPUs can be tried.
pages = Pages
page-before = Previous page
page-after = Next page
page-of = Page { $page } of { $pages }

## States
state-ready = Ready
state-failed = Failed
state-deploying = Deploying
state-deleting = Being deleted
instance-creating = Being created
instance-starting = Starting
instance-ready = Ready
instance-unready = Not ready
instance-draining = Draining
instance-stopping = Stopping
instance-stopped = Stopped
instance-failed = Failed

## Services
services = Services
services-filter = Name contains
services-none-found = No service matches. Search for another name or choose all regions.
services-count = { $shown } of { $total } services
services-empty = There is no service yet
services-empty-next = A service runs your container image and answers at a URL. Deploy one here, or from a terminal:
services-empty-gcloud = To point gcloud at this homerun:
deploy-container = Deploy container

## A service
edit-and-deploy = Edit & deploy new revision
manage-traffic = Manage traffic
service-tabs = Views of the service
deployment-steps = Steps of the deployment
condition-ready = Ready
condition-configurations-ready = Revision ready
condition-routes-ready = Traffic moved
condition-active = Active
condition-container-healthy = Container started
condition-container-ready = Image pulled
condition-resources-available = Resources available
tab-revisions = Revisions
tab-logs = Logs
tab-instances = Instances
tab-yaml = YAML

## Revisions
revisions-empty = There is no revision yet.
revision-tabs = Views of the revision
tab-containers = Containers
tab-volumes = Volumes
tab-networking = Networking
tab-security = Security
general = General
container = Container
image = Image
digest = Digest
port = Port
cpu = CPU
memory = Memory
command = Command
args = Arguments
env = Environment variables
startup-probe = Startup probe
liveness-probe = Liveness probe
readiness-probe = Readiness probe
probe-often = after { $delay } s, every { $period } s, at most { $timeout } s each; fails after { $failures ->
        [one] one failure
       *[other] { $failures } failures in a row
    }
cpu-allocation = CPU allocation
cpu-always = CPU is always allocated
cpu-during-requests = CPU is only allocated during request processing
startup-cpu-boost = Startup CPU boost
concurrency = Maximum concurrent requests per instance
request-timeout = Request timeout
execution-environment = Execution environment
environment-default = Default
gen1 = First generation
gen2 = Second generation
min-instances = Minimum number of instances
max-instances = Maximum number of instances
volumes-empty = This revision has no volumes.
volume-memory = In memory
volume-memory-limited = In memory, up to { $limit }
ingress = Ingress
ingress-all = All
ingress-internal = Internal
ingress-internal-lb = Internal and load balancers
session-affinity = Session affinity
service-account = Service account

## Instances
instances-empty = No instance is running
instances-empty-next = Without requests a service falls to zero instances, unless it has a minimum. The next request starts one:
in-flight = Requests in flight
start-receipt = Start
not-ready-yet = not ready yet
step-record = recorded
step-prepare = prepared
step-create = sandbox created
step-wake = sandbox woken
step-start = program started

## Logs
severity = Severity
severity-all = All
severity-info = Info and above
severity-warning = Warning and above
severity-error = Error and above
log-text = Text or URL contains
logs-empty = There are no log entries like this.
logs-newest = { $count ->
        [one] One entry
       *[other] The newest { $count } entries, the newest first
    }

## Metrics
tab-metrics = Metrics
range = Range
range-hour = 1 hour
range-day = 1 day
range-week = 7 days
range-month = 30 days
range-year = 1 year
times-in = Times are in { $zone }.
requests = Requests
per-second = req/s
request-latency = Request latency
cold-starts = Cold starts
gpu-busy = GPU utilization
gpu-memory = GPU memory
start-step = Step
mean = Mean
longest = Longest
time = Time
plot-table = Values as a table
plot-no-requests = No requests in this time.
plot-no-instances = No instance was running in this time.
plot-no-starts = No instance was started in this time.
plot-no-gpu = No GPU was held in this time.
plot-requests-summary = { $requests ->
        [one] One request
       *[other] { $requests } requests
    }, of which { $errors } had a server error.
plot-latency-summary = Half of the requests took no longer than { $half }, 99 of 100 no longer than { $most }.
plot-instances-summary = At most { $most ->
        [one] one instance
       *[other] { $most } instances
    } at a time.
plot-starts-summary = { $count ->
        [one] One start, which took { $mean }.
       *[other] { $count } starts, which took { $mean } on average.
    }
plot-gpu-busy-summary = The GPU that worked most was busy for { $most } of the time that it was held.
plot-gpu-memory-summary = The GPU whose memory was used most had { $most } in use on average.
simulated-use = A simulated GPU cannot compute. What its instance uses of the CPU and of memory stands in for it.
