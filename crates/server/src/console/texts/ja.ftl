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
