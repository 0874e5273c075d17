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
sign-in-with = Sign in with { $name }
sign-in-refused = You were not signed in: { $why }
sign-in-not-begun = This sign-in was not begun in this browser, has ended already or took longer than ten minutes. Please begin again.
sign-in-provider-fails = The provider cannot be reached or does not answer as it should. homerun's own log says more.
sign-in-token-bad = The provider's token was not accepted: { $why }.
sign-in-token-not-valid = its signature, issuer or time is wrong
sign-in-token-other-client = it is for another client
sign-in-token-other-party = another client asked for it
sign-in-token-other-sign-in = it is of another sign-in
sign-in-token-no-email = it names no email; the client must be allowed the scope “email”
sign-in-token-bad-email = its email is not verified, or not the provider's to name
sign-in-unknown-host = To sign in by a provider from another machine, the setting console_url of [auth] must say where the console is.

## When something fails
error-title = This page cannot be shown
error-home = To the services
session-ended = Your session has ended
session-ended-next = Nothing was changed, and nothing that you have filled in is lost: sign in in another tab, then load this page again to send it.
error-form-large = A form has at most { $most } fields. Nothing was changed.
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
condition-certificate-provisioned = Certificate
condition-domain-routable = Domain mapped
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

## Forms
mistakes = Please correct this:
cancel = Cancel
remove = Remove
reason = Reason

## GPUs
nav-gpus = GPUs
gpus = GPUs
gpus-count = { $free } of { $total } free
gpus-empty = This machine has no GPU that instances may have
gpus-empty-next = Start homerun on a machine with NVIDIA's driver, or try everything around GPUs with simulated ones:
gpu-product = Product
gpu-free = Free
gpu-elsewhere = Held by another project
service = Service
gpus-waiting = Waiting for a GPU
gpus-waiting-empty = Nothing waits for a GPU.

## Quotas
nav-quotas = Quotas
quotas = Quotas
quotas-empty = No GPU quota yet
quotas-empty-next = This project may not hold GPUs yet. Request a quota; whoever runs homerun decides about it.
quota = Quota
quota-used = In use
quota-of = { $used } of { $limit }
quota-holders = Held by
quota-actions = Actions
quota-lowered = Lowered to { $limit }; { $granted } are granted.
quota-request = Request increase
quota-requests = Requests
quota-requests-empty = Nothing has been requested yet.
quota-preferred = New value
quota-preferred-hint = Number of GPUs that the project's instances may hold at the same time.
quota-justification = Justification
quota-justification-hint = Whoever decides reads this.
quota-requester = Requested by
quota-send = Submit request
quota-force = Do it anyway: below what is in use, or by more than a tenth
quota-pending = Pending
quota-granted = Granted
quota-granted-in-part = Granted in part
quota-denied = Denied
quota-decide = Decide
quota-approve = Approve
quota-granted-value = GPUs to grant
quota-granted-value-hint = No less than is granted by now.
quota-deny = Deny
quota-deny-hint = The requester reads this.
quota-limit = Limit
quota-lower = Lower the limit
quota-lower-change = Change the lowered limit
quota-lower-what = A lowered limit holds whatever is granted, until it is removed.
quota-lowered-limits = Lowered limits
quota-lowered-none = No limit is lowered.
quota-changes = Changes
quota-changes-empty = Nothing has changed yet.
quota-by = By
quota-action = Change
quota-from = From
quota-to = To
quota-note = Note
quota-was-requested = Requested
quota-was-granted = Granted
quota-was-denied = Denied
quota-was-lowered = Lowered
quota-was-unlowered = No longer lowered

## Permissions
tab-permissions = Permissions
permissions-invocations = Invocations
permissions-open = Unauthenticated
permissions-open-what = Everybody may send requests, without a token.
permissions-closed = Authentication required
permissions-closed-what = Requests need an identity token of somebody who has the role Cloud Run Invoker.
permissions-allow = Allow unauthenticated invocations
permissions-close = Require authentication
permissions-members = Members and their roles
permissions-empty = Nobody has a role here yet.
permissions-project-hidden = Who has roles on the project is not shown: that needs the permission resourcemanager.projects.getIamPolicy.
permissions-add = Grant access
permissions-member = Member
permissions-member-hint = For instance user:ann@example.com, serviceAccount:robot@demo.iam.gserviceaccount.com, domain:example.com, allAuthenticatedUsers or allUsers.
permissions-role = Role
permissions-other-roles = Other roles
permissions-source = Granted on
permissions-own = This service
permissions-inherited = Project { $project } (inherited)
permissions-change = Actions

## Usage
nav-usage = Usage
usage = Usage
tab-usage = Usage
show = Show
save = Save
confirm-name = To confirm, type the name { $name }
confirm-wrong = must be the name { $name }.
period = Period
period-month = This month
period-last-month = Last month
period-30-days = Last 30 days
period-12-months = Last 12 months
period-dates = Chosen dates
period-from = First day
period-to = Last day
period-hint = The days count where chosen dates are the period. Days are those of UTC.
usage-total = Cost
usage-always-on = Always on
usage-time = Time
usage-prices = Price list
usage-empty = Nothing was used in this time
usage-empty-next = Usage appears here as soon as an instance of a service runs. Choose another period, or send a service a request.
usage-by-service = By service
usage-by-sku = By what is sold
usage-by-day = By day
usage-by-day-summary = { $total } in all.
usage-cost = Cost
usage-starts = Starts
usage-requests = Requests
usage-sku = SKU
usage-quantity = Quantity
usage-price = Price
usage-day = Day
usage-others = and { $count } more
usage-csv = Download CSV
usage-focus = Download FOCUS

## Budgets
budgets = Budgets
budgets-empty = There is no budget. A budget tells somebody, or keeps further instances from being started, when a month gets too dear.
budget-new = Create budget
budget-for = For
budget-for-all = All services
budget-spent = Spent this month
budget-thresholds = Thresholds (%)
budget-thresholds-hint = Percentages of the amount at which somebody is told, with commas between them.
budget-amount = Amount per month ({ $currency })
budget-amount-hint = For instance 250 or 12.50.
budget-webhook = Webhook
budget-webhook-hint = An address that is told by a POST request; may be empty.
budget-stop = Start no further instances once the amount is spent
budget-stops = Stops instances at 100 %
budget-stopped = Used up
budget-reached = { $percent } % reached
budget-within = Within budget
budget-delete = Delete budget

## Deploying
deploy = Deploy
create = Create
refresh = Update the form
value = Value
unset = Default: { $value }
row-field = { $field }, row { $row }
row-remove = Remove row { $row }
row-add-command = Add a word of the command
row-add-arg = Add an argument
row-add-env = Add a variable
row-add-mount = Mount a volume
row-add-volume = Add a volume
form-wrong = Nothing was deployed. Put this right first:
nothing-changed = Nothing differs from the latest revision, so no new one was made.
conflict-next = Open the service in another tab to see what it is now. Deploying again replaces that by what is filled in here.
service-settings = Service
image-url = Container image URL
image-hint = For instance us-docker.pkg.dev/cloudrun/container/hello.
image-hint-local = For instance us-docker.pkg.dev/cloudrun/container/hello. Images that are on this machine are suggested.
service-name = Service name
service-name-hint = Lower-case letters, digits and hyphens; it begins with a letter and becomes part of the URL.
authentication = Authentication
auth-public = Allow unauthenticated invocations
auth-required = Require authentication
auth-hint = With authentication, requests need an identity token of somebody who has the role Cloud Run Invoker (roles/run.invoker).
cpu-allocation-hint = Between requests, instances whose CPU is not always allocated have nearly none.
cpu-allocation-gpu = A GPU needs CPU that is always allocated. The service can fall to zero instances even so.
service-scaling = Service scaling
revision-scaling = Revision scaling
deploy-more = Container(s), Volumes, Networking, Security
revision-new = New revision
revision-name = Revision name
revision-name-hint = Left empty, a name is made up.
serve-immediately = Serve this revision immediately
serve-immediately-hint = All requests go to the new revision once it is ready. Unticked, it gets none: they stay where they go now.
revision-settings = Settings of the revision
request-timeout-seconds = Request timeout (seconds)
environment-gpu = A GPU needs the second generation.
startup-cpu-boost-hint = More CPU while an instance starts.
session-affinity-hint = Requests of one client go to the same instance where possible.
idle-timeout = Idle time until an instance is stopped
idle-timeout-hint = For instance 30s or 5m.
container-add = Add container
container-remove = Remove container { $name }
container-number = Container { $number }
container-name = Container name
container-port = Container port
port-hint = Exactly one container has a port: the one that takes the requests.
protocol = Protocol
protocol-http1 = HTTP/1.1
protocol-h2c = HTTP/2 end to end
resources = Resources
container-settings = Command, arguments, variables
working-dir = Working directory
gpu-hint = An instance has no GPU or one, which belongs to one of its containers.
gpu-needs = { $type } needs at least { $cpu } CPU and { $memory }. { $more-cpu } CPU and { $more-memory } are recommended.
gpu-filled-in = What { $type } needs was filled in: the least CPU and memory, CPU that is always allocated and the second generation execution environment. Look it over, then deploy.
gpu-type-here = { $product } ({ $type }), { $memory }: { $count } in { $region }
gpu-type-simulated = { $product } ({ $type }), { $memory }: { $count } in { $region }, simulated
gpu-type-elsewhere = { $product } ({ $type }), { $memory }: none in { $region }
gpu-quota-hint = At most the project's GPU quota in { $region }, which is { $limit }.
gpu-redundancy = GPU zonal redundancy
gpu-redundancy-unset = Default
gpu-redundancy-off = No zonal redundancy
gpu-redundancy-on = Zonal redundancy
cuda-compat = The image's CUDA compatibility libraries come first
probes = Health checks
probe-type = Probe type
probe-default = Default (TCP)
probe-none = None
probe-http = HTTP
probe-tcp = TCP
probe-grpc = gRPC
probe-path = Path
probe-service = gRPC service
probe-delay = Initial delay (seconds)
probe-period = Period (seconds)
probe-timeout = Timeout (seconds)
probe-failures = Failure threshold
probe-successes = Success threshold
starts-after = Starts after
starts-after-hint = Give the other containers names first.
mounts = Volume mounts
mounts-hint = There are no volumes to mount.
volume = Volume
mount-path = Mount path
sub-path = Path within the volume
read-only = Read-only
volumes-hint = A volume is shared by the containers of an instance, counts as its memory and ends with it.
volume-name = Volume name
size-limit = Size limit
service-account-default = Default service account
service-account-hint = The identity that instances have. Choosing one needs the role Service Account User (roles/iam.serviceAccountUser) on it.

## Traffic, deleting, YAML
traffic-hint = The shares of all targets add up to 100 %. A tag gives a target a URL of its own.
traffic-add = Add a target
traffic-latest = Latest ready revision
traffic-percent = Traffic (%)
traffic-tag = URL tag
delete-service = Delete service { $name }
delete-service-means = Its URL stops answering at once; its revisions and instances go. This cannot be undone.
delete-type-name = Type { $name } to confirm
delete-wrong = Type the name exactly: { $name }. Nothing was deleted.
delete-revision = Delete revision { $name }
delete-revision-means = The revision is gone for good; requests can no longer be moved back to it.
delete-this-revision = Delete this revision
yaml-edit = Edit YAML
yaml-edit-hint = As for gcloud run services replace. resourceVersion guards against overwriting what somebody else has changed meanwhile.
yaml-review = Review changes
yaml-on = Go on editing
yaml-same = Nothing differs.

## Activity
nav-activity = Activity
activity = Activity
activity-what = Who changed what in this project, by whatever way.
activity-empty = Nothing has been changed here.
activity-by = By
activity-verb = Change
activity-path = What
activity-create = Create or do
activity-update = Update
activity-delete = Delete
activity-newest = Newest
activity-older = Older

## GPUs, in time
held-since = Held since
waits-since = Waiting since

## What is asked, and what was not done
quota-decision-missing = Choose to approve or to deny. Nothing was decided.
quota-region-choose = Choose a region
quota-region-missing = Choose a region, or all regions.
quota-unlower = Remove the lowered limit
quota-unlower-means = { $what }: what is granted holds again, and instances may hold that many GPUs at once.
budget-conflict-next = Open the budget in another tab to see what it is now. Saving again replaces that by what is filled in here.
permissions-open-means = Everybody who reaches { $name } may send requests to it, without a token, and causes what they cost.
permissions-add-all-means = { $member } is not one person: on { $name }, everybody gets the role { $role } by it.
permissions-remove = Remove a role
permissions-remove-means = { $member } no longer has the role { $role } on { $name }. What the project grants stays.
yaml-unreadable = This is no YAML that can be read: { $error }
yaml-differs = How this differs from what is stored now
period-no-date = '{ $text }' is no date such as 2026-11-26.
usage-file-failed = The file cannot be made: { $error }
not-made-public = The service was created, but unauthenticated invocations were not allowed: requests need authentication. Allow them here:
secrets-hint = homerun has no secrets yet. The values of variables are stored as they are and shown to whoever may see the service.
