{{- define "gvList" -}}
# Reference

What `kubectl explain` says of each kind, on one page, in the words of the API itself: `make generate`
writes this page from [api/v1alpha1](../api/v1alpha1). A field is optional unless it says *required*; what it is
without being set stands in its description.

{{ range . -}}
{{ template "gvDetails" . }}
{{- end }}
{{- end -}}
