{{- define "type" -}}
{{- $type := . -}}
{{- if markdownShouldRenderType $type }}
### {{ $type.Name }}

{{ template "text" $type.Doc }}
{{- if $type.IsAlias }} A {{ template "typeName" $type.UnderlyingType }}.
{{- end }}
{{ with $type.Validation }}
{{- range . }}
- {{ template "validation" . }}
{{- end }}
{{ end }}
{{- with index $type.Markers "kubebuilder:validation:XValidation" }}
{{- range . }}
- {{ template "text" .Message }}
{{- end }}
{{ end }}
{{- if $type.References }}
In {{ range $i, $each := $type.SortedReferences }}{{ if $i }}, {{ end }}{{ markdownRenderTypeLink $each }}{{ end }}.
{{ end }}
{{- if $type.Members }}
| field | type | |
| --- | --- | --- |
{{- range $type.Members }}
{{- if ne .Name "metadata" }}
| `{{ .Name }}` | {{ template "typeName" .Type }} | {{ template "type_members" . }} |
{{- end }}
{{- end }}
{{ end }}
{{- end }}
{{- end -}}

{{- define "typeName" -}}
{{- if .ValueType -}}
map of {{ template "typeName" .ValueType }}
{{- else if hasPrefix "[]" .String -}}
list of {{ template "typeName" .UnderlyingType }}
{{- else -}}
{{ markdownRenderTypeLink . }}
{{- end -}}
{{- end -}}

{{- define "validation" -}}
{{ . | replace "|" "\\|" }}
{{- end -}}
