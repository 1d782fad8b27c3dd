{{- define "mcp-monitor.name" -}}
{{- if contains "mcp-monitor" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-mcp-monitor" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "mcp-monitor.account" -}}
{{- default (include "mcp-monitor.name" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "mcp-monitor.selector" -}}
app.kubernetes.io/name: mcp-monitor
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mcp-monitor.labels" -}}
{{ include "mcp-monitor.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "mcp-monitor.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}
