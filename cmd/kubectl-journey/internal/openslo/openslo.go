// Package openslo turns OpenSLO v1 documents into touchpoints and promises where the meaning
// is the same, and promises into OpenSLO where it can be said there; and it says of
// everything else why not.
//
// https://github.com/OpenSLO/OpenSLO
package openslo

import (
	"encoding/json"
	"fmt"
	"strings"
)

const version = "openslo/v1"

// Finding is something that is not the same on the other side.
type Finding struct {
	// Object is such as SLO/checkout; Field the path in it, such as spec.timeWindow[0].
	Object string `json:"object"`
	Field  string `json:"field,omitempty"`
	// Line and Column are where it stands in the file, from 1 on; 0: not in a file.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Message says why, and what to do.
	Message string `json:"message"`
	// LeftOut: a promise, or part of one, is missing. Else nothing that is promised depends
	// on it.
	LeftOut bool `json:"leftOut"`
}

func (f Finding) String() string {
	var text strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&text, "%d:%d: ", f.Line, f.Column)
	}
	text.WriteString(f.Object)
	if f.Field != "" {
		text.WriteString(" " + f.Field)
	}
	mark := "note"
	if f.LeftOut {
		mark = "left out"
	}
	fmt.Fprintf(&text, ": %s: %s", mark, f.Message)
	return text.String()
}

// The documents, as far as they are read or written.
type (
	document struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Metadata   metadata `json:"metadata"`
	}

	metadata struct {
		Name        string            `json:"name"`
		DisplayName string            `json:"displayName,omitempty"`
		Labels      map[string]texts  `json:"labels,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}

	service struct {
		document
		Spec struct {
			Description string `json:"description,omitempty"`
		} `json:"spec"`
	}

	slo struct {
		document
		Spec sloSpec `json:"spec"`
	}

	sloSpec struct {
		Description     string            `json:"description,omitempty"`
		Service         string            `json:"service"`
		Indicator       *sli              `json:"indicator,omitempty"`
		IndicatorRef    string            `json:"indicatorRef,omitempty"`
		TimeWindow      []timeWindow      `json:"timeWindow,omitempty"`
		BudgetingMethod string            `json:"budgetingMethod"`
		Objectives      []objective       `json:"objectives"`
		AlertPolicies   []json.RawMessage `json:"alertPolicies,omitempty"`
	}

	timeWindow struct {
		Duration  string          `json:"duration"`
		IsRolling bool            `json:"isRolling"`
		Calendar  json.RawMessage `json:"calendar,omitempty"`
	}

	objective struct {
		DisplayName     string          `json:"displayName,omitempty"`
		Op              string          `json:"op,omitempty"`
		Value           json.RawMessage `json:"value,omitempty"`
		Target          json.Number     `json:"target,omitempty"`
		TargetPercent   json.Number     `json:"targetPercent,omitempty"`
		TimeSliceTarget json.RawMessage `json:"timeSliceTarget,omitempty"`
		TimeSliceWindow json.RawMessage `json:"timeSliceWindow,omitempty"`
		Indicator       json.RawMessage `json:"indicator,omitempty"`
		IndicatorRef    string          `json:"indicatorRef,omitempty"`
		CompositeWeight json.RawMessage `json:"compositeWeight,omitempty"`
	}

	sli struct {
		Metadata metadata `json:"metadata"`
		Spec     sliSpec  `json:"spec"`
	}

	sliSpec struct {
		Description     string          `json:"description,omitempty"`
		ThresholdMetric json.RawMessage `json:"thresholdMetric,omitempty"`
		RatioMetric     *ratioMetric    `json:"ratioMetric,omitempty"`
	}

	ratioMetric struct {
		Counter bool            `json:"counter"`
		Good    *metric         `json:"good,omitempty"`
		Bad     *metric         `json:"bad,omitempty"`
		Total   *metric         `json:"total,omitempty"`
		Raw     json.RawMessage `json:"raw,omitempty"`
		RawType string          `json:"rawType,omitempty"`
	}

	metric struct {
		MetricSource metricSource `json:"metricSource"`
	}

	metricSource struct {
		MetricSourceRef string         `json:"metricSourceRef,omitempty"`
		Type            string         `json:"type,omitempty"`
		Spec            map[string]any `json:"spec"`
	}

	dataSource struct {
		document
		Spec struct {
			Type              string          `json:"type"`
			ConnectionDetails json.RawMessage `json:"connectionDetails,omitempty"`
			Description       string          `json:"description,omitempty"`
		} `json:"spec"`
	}
)

// texts is one text or several.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(t))
}
