{{- define "type_members" -}}
{{ template "text" .Doc }}
{{- $own := list -}}
{{- range .Validation }}
{{- if hasPrefix "Required" . }} *Required.*
{{- else if or (hasPrefix "MaxItems" .) (hasPrefix "MaxProperties" .) (hasPrefix "Minimum" .) (hasPrefix "Maximum" .) }}{{ $own = append $own . }}
{{- end }}
{{- end }}
{{- if $own }} {{ join ", " $own }}.{{ end }}
{{- end -}}
