{{- define "gvDetails" -}}
{{- $gv := . -}}
`apiVersion: {{ $gv.GroupVersionString }}`
{{ range list "Touchpoint" "ExperienceSLO" "Journey" }}
- [{{ . }}](#{{ lower . }}): {{ with $gv.TypeForKind . }}{{ template "text" .Doc }}{{ end }}
{{- end }}

## Kinds
{{ range list "Touchpoint" "ExperienceSLO" "Journey" }}
{{- template "type" ($gv.TypeForKind .) }}
{{- end }}
## Types
{{ range $gv.SortedTypes }}
{{- if not .GVK }}{{ template "type" . }}{{ end }}
{{- end }}
{{- end -}}

{{- /* Comments are wrapped, and tables are not; a tag is none of theirs. */ -}}
{{- define "text" -}}
{{ . | replace "\n\n" "<br><br>" | replace "\n" " " | replace "<" "&lt;" | replace "&lt;br>" "<br>" | replace "|" "\\|" }}
{{- end -}}
