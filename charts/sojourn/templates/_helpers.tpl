{{/* What the names of all objects begin with: the release's name, with "sojourn" in it. */}}
{{- define "sojourn.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.Release.Name | trunc 32 | trimSuffix "-") .Chart.Name -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "sojourn.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* By which a component's Pods are known; never changes. Takes (list . component). */}}
{{- define "sojourn.selector" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{/* Takes (list . component). */}}
{{- define "sojourn.image" -}}
{{- $root := first . -}}
{{- with $root.Values.image.prefix }}{{ . }}/{{ end -}}
sojourn-{{ last . }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end -}}

{{/* What the Pods of all components have in common. Takes (list . component). */}}
{{- define "sojourn.pod" -}}
{{- $root := first . -}}
serviceAccountName: {{ include "sojourn.name" $root }}-{{ last . }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Every container's. */}}
{{- define "sojourn.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Flags that all programs know. Takes (list . component). */}}
{{- define "sojourn.args" -}}
{{- $root := first . -}}
{{- with $root.Values.namespaces }}
- --namespaces={{ join "," . }}
{{- end }}
{{- with (index $root.Values (last .)).extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Tell a Prometheus that looks for annotations of Pods. Takes (list . port). */}}
{{- define "sojourn.scrapeAnnotations" -}}
{{- if (first .).Values.scrapeAnnotations.enabled -}}
annotations:
  prometheus.io/scrape: "true"
  prometheus.io/scheme: http
  prometheus.io/port: {{ last . | quote }}
  prometheus.io/path: /metrics
{{- end -}}
{{- end -}}
