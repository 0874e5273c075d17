# コンソールの日本語の文言。en.ftl と同じ項目がすべてあることをテストが確かめる。

## どのページにもあるもの
skip-to-content = 本文へ移動
nav = ナビゲーション
nav-services = サービス
project = プロジェクト
language = 言語
go = 移動
sign-out = ログアウト

## ログイン
sign-in = ログイン
sign-in-title = homerun にログイン
sign-in-token = アクセス トークン
sign-in-how = homerun を実行しているマシンで、次のコマンドを使うと表示されます:
sign-in-wrong = このトークンは無効か、有効期限が切れています。新しいトークンを表示して、もう一度お試しください。

## うまくいかないとき
error-title = このページは表示できません
error-home = サービスの一覧へ
error-form-secret = フォームの有効期限が切れているか、このコンソールのものではありません。前のページに戻り、再読み込みしてからもう一度送信してください。変更は行われていません。

## 用語
name = 名前
state = 状態
region = リージョン
all-regions = すべてのリージョン
gpu = GPU
gpu-type = GPU のタイプ
gpu-count = GPU の数
instance = インスタンス
instances = インスタンス
requests-per-second = リクエスト/秒
last-deployed = 最終デプロイ
deployed = デプロイ日時
deployed-by = デプロイしたユーザー
url = URL
none = なし
on = オン
off = オフ
search = 検索
delete = 削除
traffic = トラフィック
tags = タグ
latest = 最新
since = 開始日時
revision = リビジョン
seconds = { $seconds } 秒
simulated = シミュレーション
simulated-why = 実際のデバイスはありません。GPU まわりのすべてを試せるように、homerun がインスタンスに代わりのものを渡しています。
pages = ページ
page-before = 前のページ
page-after = 次のページ
page-of = { $page } / { $pages } ページ

## 状態
state-ready = 準備完了
state-failed = 失敗
state-deploying = デプロイ中
state-deleting = 削除中
instance-creating = 作成中
instance-starting = 起動中
instance-ready = 準備完了
instance-unready = 準備未完了
instance-draining = ドレイン中
instance-stopping = 停止中
instance-stopped = 停止
instance-failed = 失敗

## サービス
services = サービス
services-filter = 名前に含まれる文字
services-none-found = 該当するサービスはありません。別の名前で検索するか、すべてのリージョンを選択してください。
services-count = { $total } 件中 { $shown } 件のサービス
services-empty = サービスはまだありません
services-empty-next = サービスはコンテナ イメージを実行し、URL で応答します。ここから、またはターミナルからデプロイできます:
services-empty-gcloud = gcloud の接続先をこの homerun にするには:
deploy-container = コンテナをデプロイ

## サービスの詳細
edit-and-deploy = 新しいリビジョンの編集とデプロイ
manage-traffic = トラフィックを管理
service-tabs = サービスの表示
deployment-steps = デプロイの手順
condition-ready = 準備完了
condition-configurations-ready = リビジョンの準備
condition-routes-ready = トラフィックの切り替え
condition-active = 有効
condition-container-healthy = コンテナの起動
condition-container-ready = イメージの取得
condition-resources-available = リソースの確保
tab-revisions = 変更内容
tab-logs = ログ
tab-instances = インスタンス
tab-yaml = YAML

## リビジョン
revisions-empty = リビジョンはまだありません。
revision-tabs = リビジョンの表示
tab-containers = コンテナ
tab-volumes = ボリューム
tab-networking = ネットワーキング
tab-security = セキュリティ
general = 全般
container = コンテナ
image = イメージ
digest = ダイジェスト
port = ポート
cpu = CPU
memory = メモリ
command = コマンド
args = 引数
env = 環境変数
startup-probe = 起動プローブ
liveness-probe = 稼働状況プローブ
readiness-probe = 準備状況プローブ
probe-often = { $delay } 秒後から { $period } 秒ごと、1 回最大 { $timeout } 秒。{ $failures } 回続けて失敗すると失敗
cpu-allocation = CPU の割り当て
cpu-always = CPU を常に割り当てる
cpu-during-requests = リクエストの処理中にのみ CPU を割り当てる
startup-cpu-boost = 起動時の CPU ブースト
concurrency = インスタンスあたりの最大同時リクエスト数
request-timeout = リクエストのタイムアウト
execution-environment = 実行環境
environment-default = デフォルト
gen1 = 第 1 世代
gen2 = 第 2 世代
min-instances = 最小インスタンス数
max-instances = 最大インスタンス数
volumes-empty = このリビジョンにボリュームはありません。
volume-memory = メモリ内
volume-memory-limited = メモリ内、最大 { $limit }
ingress = 上り(内向き)
ingress-all = すべて
ingress-internal = 内部
ingress-internal-lb = 内部とロードバランサ
session-affinity = セッション アフィニティ
service-account = サービス アカウント

## インスタンス
instances-empty = 実行中のインスタンスはありません
instances-empty-next = 最小インスタンス数が設定されていなければ、リクエストがないサービスのインスタンスは 0 になります。次のリクエストで起動します:
in-flight = 処理中のリクエスト
start-receipt = 起動
not-ready-yet = 準備中
step-record = 記録
step-prepare = 準備
step-create = サンドボックスの作成
step-wake = サンドボックスの再開
step-start = プログラムの起動

## ログ
severity = 重大度
severity-all = すべて
severity-info = 情報以上
severity-warning = 警告以上
severity-error = エラー以上
log-text = テキストまたは URL に含まれる文字
logs-empty = 該当するログエントリはありません。
logs-newest = 最新の { $count } 件(新しい順)

## 指標
tab-metrics = 指標
range = 期間
range-hour = 1 時間
range-day = 1 日
range-week = 7 日間
range-month = 30 日間
range-year = 1 年
times-in = 時刻は { $zone } です。
requests = リクエスト数
per-second = リクエスト/秒
request-latency = リクエストのレイテンシ
cold-starts = コールド スタート
gpu-busy = GPU 使用率
gpu-memory = GPU メモリ
start-step = 段階
mean = 平均
longest = 最長
time = 時刻
plot-table = 値を表で表示
plot-no-requests = この期間にリクエストはありません。
plot-no-instances = この期間に実行されたインスタンスはありません。
plot-no-starts = この期間に起動したインスタンスはありません。
plot-no-gpu = この期間に割り当てられた GPU はありません。
plot-requests-summary = リクエスト { $requests } 件、うちサーバーエラー { $errors } 件。
plot-latency-summary = リクエストの半数は { $half } 以内、100 件中 99 件は { $most } 以内に完了しました。
plot-instances-summary = 同時に最大 { $most } 個のインスタンス。
plot-starts-summary = 起動 { $count } 回、平均 { $mean }。
plot-gpu-busy-summary = 最も使われた GPU は、割り当てられていた時間の { $most } で稼働していました。
plot-gpu-memory-summary = メモリが最も使われた GPU の平均使用量は { $most } でした。
simulated-use = シミュレートされた GPU は計算できません。インスタンスの CPU とメモリの使用量を代わりに表示しています。
## フォーム
mistakes = 次の点を修正してください:
cancel = キャンセル
remove = 削除
reason = 理由

## GPU
nav-gpus = GPU
gpus = GPU
gpus-count = { $total } 個中 { $free } 個が空き
gpus-empty = インスタンスで使用できる GPU がこのマシンにありません
gpus-empty-next = NVIDIA ドライバのあるマシンで homerun を起動するか、シミュレーションの GPU でお試しください:
gpu-product = 製品
gpu-free = 空き
gpu-elsewhere = 別のプロジェクトが使用中
service = サービス
gpus-waiting = GPU の待機
gpus-waiting-empty = GPU を待っているものはありません。

## 割り当て
nav-quotas = 割り当て
quotas = 割り当て
quotas-empty = GPU の割り当てはまだありません
quotas-empty-next = このプロジェクトではまだ GPU を使用できません。割り当てをリクエストしてください。homerun の管理者が判断します。
quota = 割り当て
quota-used = 使用量
quota-of = { $used } / { $limit }
quota-holders = 使用中のサービス
quota-actions = 操作
quota-lowered = 上限を { $limit } に引き下げています(承認済み: { $granted })。
quota-request = 割り当ての増加をリクエスト
quota-requests = リクエスト
quota-requests-empty = リクエストはまだありません。
quota-preferred = 新しい値
quota-preferred-hint = プロジェクトのインスタンスが同時に使用できる GPU の数。
quota-justification = 申請理由
quota-justification-hint = 判断する管理者に表示されます。
quota-requester = リクエストしたユーザー
quota-send = リクエストを送信
quota-force = 使用量を下回る、または 10% を超える引き下げでも実行する
quota-pending = 承認待ち
quota-granted = 承認済み
quota-granted-in-part = 一部承認
quota-denied = 却下
quota-decide = 承認または却下
quota-approve = 承認
quota-granted-value = 承認する GPU の数
quota-granted-value-hint = 現在承認されている数以上にしてください。
quota-deny = 却下
quota-deny-hint = リクエストしたユーザーに表示されます。
quota-limit = 上限
quota-lower = 上限を引き下げる
quota-lower-change = 引き下げた上限を変更
quota-lower-what = 引き下げた上限は、解除するまで、承認された値にかかわらず適用されます。
quota-lowered-limits = 引き下げた上限
quota-lowered-none = 引き下げた上限はありません。
quota-changes = 変更履歴
quota-changes-empty = 変更はまだありません。
quota-by = 変更したユーザー
quota-action = 変更
quota-from = 変更前
quota-to = 変更後
quota-note = メモ
quota-was-requested = リクエスト
quota-was-granted = 承認
quota-was-denied = 却下
quota-was-lowered = 引き下げ
quota-was-unlowered = 引き下げの解除

## 権限
tab-permissions = 権限
permissions-invocations = 呼び出し
permissions-open = 未認証
permissions-open-what = 誰でもトークンなしでリクエストを送信できます。
permissions-closed = 認証が必要
permissions-closed-what = リクエストには、Cloud Run 起動元のロールを持つプリンシパルの ID トークンが必要です。
permissions-allow = 未認証の呼び出しを許可
permissions-close = 認証を要求
permissions-members = プリンシパルとロール
permissions-empty = ロールを持つプリンシパルはまだいません。
permissions-project-hidden = プロジェクトのロールは表示されません。表示には権限 resourcemanager.projects.getIamPolicy が必要です。
permissions-add = アクセス権を付与
permissions-member = プリンシパル
permissions-member-hint = 例: user:ann@example.com、serviceAccount:robot@demo.iam.gserviceaccount.com、domain:example.com、allAuthenticatedUsers、allUsers。
permissions-role = ロール
permissions-other-roles = その他のロール
permissions-source = 付与先
permissions-own = このサービス
permissions-inherited = プロジェクト { $project }(継承)
permissions-change = 操作

## 使用状況
nav-usage = 使用状況
usage = 使用状況
tab-usage = 使用状況
show = 表示
save = 保存
confirm-name = 確認のため、名前 { $name } を入力してください
confirm-wrong = 名前 { $name } を入力してください。
period = 期間
period-month = 今月
period-last-month = 先月
period-30-days = 過去 30 日間
period-12-months = 過去 12 か月間
period-dates = 日付を指定
period-from = 開始日
period-to = 終了日
period-hint = 開始日と終了日は、期間に「日付を指定」を選択した場合に使用されます。日付は UTC です。
usage-total = 費用
usage-always-on = 常時稼働した場合
usage-time = 期間
usage-prices = 料金表
usage-empty = この期間の使用はありません
usage-empty-next = サービスのインスタンスが実行されると、ここに表示されます。別の期間を選択するか、サービスにリクエストを送信してください。
usage-by-service = サービス別
usage-by-sku = SKU 別
usage-by-day = 日別
usage-by-day-summary = 合計 { $total }。
usage-cost = 費用
usage-starts = 起動回数
usage-requests = リクエスト数
usage-sku = SKU
usage-quantity = 使用量
usage-price = 単価
usage-day = 日付
usage-others = 他 { $count } 件
usage-csv = CSV をダウンロード
usage-focus = FOCUS をダウンロード

## 予算
budgets = 予算
budgets-empty = 予算はありません。予算を作成すると、月の費用がしきい値に達したときに通知したり、新しいインスタンスの起動を停止したりできます。
budget-new = 予算を作成
budget-for = 対象
budget-for-all = すべてのサービス
budget-spent = 今月の費用
budget-thresholds = しきい値(%)
budget-thresholds-hint = 通知する割合(予算額に対する %)。カンマ区切りで指定します。
budget-amount = 1 か月の予算額({ $currency })
budget-amount-hint = 例: 250、12.50
budget-webhook = Webhook
budget-webhook-hint = POST リクエストで通知する URL。省略できます。
budget-stop = 予算額に達したら新しいインスタンスを起動しない
budget-stops = 100 % でインスタンスの起動を停止
budget-stopped = 予算超過
budget-reached = { $percent } % に到達
budget-within = 予算内
budget-delete = 予算を削除
