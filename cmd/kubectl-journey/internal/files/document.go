package files

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"
)

// Position is a place in a file. Lines and columns count from 1; 0 is unknown.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String writes a position as compilers do.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Fault is something that keeps a file from being read as it is written.
type Fault struct {
	Position
	// Reason names the kind of fault in one word: InvalidYAML, DuplicateField, UnknownKind.
	Reason string
	// Message says what is wrong, Hint what to do; Hint may be empty.
	Message, Hint string
}

// Document is one object as it is written.
type Document struct {
	// Fields are those of the object, as JSON has them; whole numbers are int64.
	Fields map[string]any
	// Faults are those of the object.
	Faults []Fault

	file string
	// line is what is before the document in its file.
	line int
	node *yaml.Node
}

// Kind is the kind of the object, empty where it is no text; likewise the others.
func (d *Document) Kind() string { return text(d.Fields, "kind") }

// APIVersion is the group and version of the object.
func (d *Document) APIVersion() string { return text(d.Fields, "apiVersion") }

// Name is the name in the object's metadata.
func (d *Document) Name() string { return d.metadata("name") }

// Namespace is the namespace in the object's metadata.
func (d *Document) Namespace() string { return d.metadata("namespace") }

func (d *Document) metadata(field string) string {
	metadata, _ := d.Fields["metadata"].(map[string]any)
	return text(metadata, field)
}

func text(fields map[string]any, field string) string {
	value, _ := fields[field].(string)
	return value
}

// At finds a field by its path, such as spec.objectives[effort].ces.mean or
// spec.objectives[0].ces: its value, or its name where the value has fields of its own. Of
// a path that is not there it finds as much as there is.
func (d *Document) At(path string) Position {
	field, value := d.find(path)
	if value != nil && value.Kind == yaml.ScalarNode {
		return d.position(value)
	}
	return d.position(field)
}

// AtField finds the name of a field by its path.
func (d *Document) AtField(path string) Position {
	field, _ := d.find(path)
	return d.position(field)
}

// AtItem finds the item of a list that is a name, or whose name is it; without one the
// list.
func (d *Document) AtItem(list, name string) Position {
	return d.At(fmt.Sprintf("%s[%s]", list, name))
}

func (d *Document) position(node *yaml.Node) Position {
	return Position{File: d.file, Line: node.Line + d.line, Column: node.Column}
}

// find goes along a path, and returns the name of the field at its end, or of the last
// that is there, and the value of the former.
func (d *Document) find(path string) (field, value *yaml.Node) {
	field, value = d.node, d.node
	for _, part := range split(path) {
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		key, child := step(value, part)
		if child == nil {
			return field, nil
		}
		field, value = key, child
	}
	return field, value
}

// split takes a path apart. What is in brackets is one part, whatever it holds.
func split(path string) []string {
	var parts []string
	for path != "" {
		switch end := strings.IndexAny(path, ".["); {
		case path[0] == '.':
			path = path[1:]
		case path[0] == '[':
			inside, rest, _ := strings.Cut(path[1:], "]")
			parts, path = append(parts, inside), rest
		case end < 0:
			return append(parts, path)
		default:
			parts, path = append(parts, path[:end]), path[end:]
		}
	}
	return parts
}

// step finds what a part of a path names below a node, with the node to show for it. A
// list without an index stands for each of its items; the first that fits is taken.
func step(node *yaml.Node, part string) (shown, value *yaml.Node) {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == part {
				return node.Content[i], node.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if index, err := strconv.Atoi(part); err == nil && index >= 0 && index < len(node.Content) {
			return node.Content[index], node.Content[index]
		}
		for _, item := range node.Content {
			if item.Kind == yaml.AliasNode {
				item = item.Alias
			}
			if item.Kind == yaml.ScalarNode && item.Value == part {
				return item, item
			}
			for i := 0; i+1 < len(item.Content) && item.Kind == yaml.MappingNode; i += 2 {
				if slices.Contains(identities, item.Content[i].Value) && item.Content[i+1].Value == part {
					return item, item
				}
			}
		}
	}
	return nil, nil
}

// identities are the fields by which an item of a list is known.
var identities = []string{"name", "type", "location"}

// maxValues bounds what one document may come to once its anchors are put in: the API
// server takes objects of three megabytes at most.
const maxValues = 1_000_000

// decoder turns nodes into values. It resolves plain scalars as kubectl does, whose YAML is
// of version 1.1: a plain yes is true.
type decoder struct {
	faults []Fault
	at     func(*yaml.Node) Position
	values int
	// within are the anchors whose values are being put in.
	within map[*yaml.Node]bool
}

// errTooMany ends the decoding of a document.
var errTooMany = fmt.Errorf("with its anchors put in it has more than %d values", maxValues)

func (d *decoder) decode(node *yaml.Node) (any, error) {
	if d.values++; d.values > maxValues {
		return nil, errTooMany
	}
	switch node.Kind {
	case yaml.DocumentNode:
		if len(node.Content) == 0 {
			return nil, nil
		}
		return d.decode(node.Content[0])
	case yaml.AliasNode:
		if d.within[node.Alias] {
			return nil, fmt.Errorf("the anchor %s contains itself", node.Value)
		}
		d.within[node.Alias] = true
		defer delete(d.within, node.Alias)
		return d.decode(node.Alias)
	case yaml.SequenceNode:
		list := make([]any, 0, len(node.Content))
		for _, item := range node.Content {
			value, err := d.decode(item)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.MappingNode:
		return d.fields(node)
	default:
		return scalar(node), nil
	}
}

func (d *decoder) fields(node *yaml.Node) (any, error) {
	fields := make(map[string]any, len(node.Content)/2)
	written := make(map[string]*yaml.Node, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Tag == "!!merge" {
			continue
		}
		if key.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: a list or an object cannot name a field", d.at(key).Line)
		}
		name := fmt.Sprint(scalar(key))
		if first := written[name]; first != nil {
			d.faults = append(d.faults, Fault{
				Position: d.at(key), Reason: "DuplicateField",
				Message: fmt.Sprintf("the field %s is written twice", name),
				Hint:    fmt.Sprintf("the first is in line %d: remove one of them", d.at(first).Line),
			})
		}
		written[name] = key
		value, err := d.decode(node.Content[i+1])
		if err != nil {
			return nil, err
		}
		fields[name] = value
	}
	return fields, d.merge(node, fields)
}

// merge puts in what the mapping takes over by <<, where it does not say otherwise itself.
func (d *decoder) merge(node *yaml.Node, fields map[string]any) error {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Tag != "!!merge" {
			continue
		}
		value, err := d.decode(node.Content[i+1])
		if err != nil {
			return err
		}
		sources, isList := value.([]any)
		if !isList {
			sources = []any{value}
		}
		for _, source := range sources {
			taken, isFields := source.(map[string]any)
			if !isFields {
				return fmt.Errorf("line %d: << takes over an object, or a list of them", d.at(node.Content[i]).Line)
			}
			for name, value := range taken {
				if _, has := fields[name]; !has {
					fields[name] = value
				}
			}
		}
	}
	return nil
}

// scalar is the value of a scalar.
func scalar(node *yaml.Node) any {
	if node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 || node.Tag == "!!str" && node.Style&yaml.TaggedStyle != 0 {
		return node.Value
	}
	if !mayBeOther(node.Value) {
		return node.Value
	}
	var value any
	if err := yamlv2.Unmarshal([]byte(node.Value), &value); err != nil {
		return node.Value
	}
	switch value := value.(type) {
	case int:
		return int64(value)
	case uint64:
		return float64(value)
	case float64:
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return node.Value // JSON has no such number, and no field of ours either
		}
		return value
	case int64, bool, nil:
		return value
	default:
		return node.Value
	}
}

// mayBeOther tells whether a plain scalar may be something else than a text.
func mayBeOther(plain string) bool {
	if plain == "" || strings.IndexByte("0123456789+-.~", plain[0]) >= 0 {
		return true
	}
	switch strings.ToLower(plain) {
	case "y", "yes", "n", "no", "on", "off", "true", "false", "null":
		return true
	}
	return false
}
