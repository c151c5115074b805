// Package files reads objects from files, folders and standard input, and knows where each
// of their fields is written.
package files

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// What can be read, in bytes. The API server takes objects of three megabytes; a list of
// many objects is one document.
const (
	maxFile     = 256 << 20
	maxDocument = 16 << 20
)

// stdin is the name of standard input among files.
const stdin = "-"

// Set is what was read.
type Set struct {
	// Documents are the objects of the three kinds, in the order of the files.
	Documents []*Document
	// Faults are those of files that could not be read as objects.
	Faults []Fault
	// NamespaceLabels are the labels of the Namespaces that are among the files.
	NamespaceLabels map[string]map[string]string
	// Names are those of the files, as positions name them.
	Names []string
	// Others counts the objects of other kinds.
	Others int
}

// ErrNothing says that there is no object of the three kinds in the files.
var ErrNothing = errors.New("there is no Journey, Touchpoint or ExperienceSLO in these files")

// Read reads files, the YAML and JSON files of folders, and, for -, standard input. Folders
// within folders are read too if recursive says so. A file that cannot be opened is an
// error; what is wrong inside of one is a fault.
func Read(names []string, recursive bool, in io.Reader) (*Set, error) {
	paths, err := expand(names, recursive)
	if err != nil {
		return nil, err
	}
	parts := make([]*Set, len(paths))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, path := range paths {
		group.Go(func() error {
			content, err := read(path, in)
			if err == nil {
				parts[i] = parse(path, content)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := &Set{NamespaceLabels: map[string]map[string]string{}}
	for _, part := range parts {
		all.Names = append(all.Names, part.Names...)
		all.Documents = append(all.Documents, part.Documents...)
		all.Faults = append(all.Faults, part.Faults...)
		all.Others += part.Others
		for name, labels := range part.NamespaceLabels {
			all.NamespaceLabels[name] = labels
		}
	}
	if len(all.Documents)+len(all.Faults) == 0 {
		if all.Others > 0 {
			return nil, fmt.Errorf("%w, only %d of other kinds", ErrNothing, all.Others)
		}
		return nil, ErrNothing
	}
	return all, nil
}

// expand lists the files, each once.
func expand(names []string, recursive bool) ([]string, error) {
	var paths []string
	for _, name := range names {
		if name == stdin {
			paths = append(paths, name)
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, plain(err)
		}
		if !info.IsDir() {
			paths = append(paths, name)
			continue
		}
		found, err := folder(name, recursive)
		if err != nil {
			return nil, plain(err)
		}
		paths = append(paths, found...)
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(paths, func(path string) bool {
		clean := filepath.Clean(path)
		defer func() { seen[clean] = true }()
		return seen[clean]
	}), nil
}

func folder(root string, recursive bool) ([]string, error) {
	var found []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (!recursive || strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case entry.IsDir():
			return nil
		}
		base, extension := entry.Name(), filepath.Ext(path)
		if slices.Contains([]string{".yaml", ".yml", ".json"}, extension) && strings.TrimSuffix(base, extension) != "kustomization" {
			found = append(found, path)
		}
		return nil
	})
	if err == nil && len(found) == 0 {
		hint := ""
		if !recursive {
			hint = "; -R looks into the folders below too"
		}
		err = fmt.Errorf("%s holds no .yaml, .yml or .json file%s", root, hint)
	}
	return found, err
}

// plain says what keeps a file from being read.
func plain(err error) error {
	var path *fs.PathError
	switch {
	case !errors.As(err, &path):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no file %s", path.Path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("you may not read %s", path.Path)
	}
	return err
}

func read(path string, in io.Reader) ([]byte, error) {
	if path != stdin {
		file, err := os.Open(path)
		if err != nil {
			return nil, plain(err)
		}
		defer file.Close()
		in = file
	}
	content, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("%s holds more than %d MiB: give its parts one by one", path, maxFile>>20)
	}
	return content, plain(err)
}

// parse reads the documents of a file.
func parse(path string, content []byte) *Set {
	name := path
	if path == stdin {
		name = "<stdin>"
	}
	p := &parser{file: name, set: &Set{Names: []string{name}, NamespaceLabels: map[string]map[string]string{}}}
	content = bytes.TrimPrefix(content, []byte("\uFEFF"))
	if !utf8.Valid(content) || bytes.IndexByte(content, 0) >= 0 {
		p.fault(Position{File: name}, "InvalidYAML", "is no text in UTF-8", "give a YAML or JSON file")
		return p.set
	}
	line := 0
	for _, document := range documents(content) {
		p.document(document, line)
		line += bytes.Count(document, []byte("\n"))
	}
	return p.set
}

// documents takes a stream apart at its lines of ---, so that a mistake in one document
// leaves the others alone. Each keeps its line feeds.
func documents(content []byte) [][]byte {
	var found [][]byte
	start := 0
	for at := 0; at < len(content); {
		end := bytes.IndexByte(content[at:], '\n') + 1
		if end == 0 {
			end = len(content) - at
		}
		if line := content[at : at+end]; at > start && bytes.HasPrefix(line, []byte("---")) && (len(line) == 3 || strings.IndexByte(" \t\r\n", line[3]) >= 0) {
			found, start = append(found, content[start:at]), at
		}
		at += end
	}
	return append(found, content[start:])
}

type parser struct {
	file string
	set  *Set
}

func (p *parser) fault(at Position, reason, message, hint string) {
	p.set.Faults = append(p.set.Faults, Fault{Position: at, Reason: reason, Message: message, Hint: hint})
}

func (p *parser) document(text []byte, line int) {
	if blank(text) {
		return
	}
	start := Position{File: p.file, Line: line + 1, Column: 1}
	if len(text) > maxDocument {
		p.fault(start, "InvalidYAML", fmt.Sprintf("the document has %d MiB, more than the %d MiB that are read of one", len(text)>>20, maxDocument>>20), "the API server takes objects of 3 MiB at most")
		return
	}
	var node yaml.Node
	if err := yaml.Unmarshal(fromJSON(text), &node); err != nil {
		p.fault(whereIn(err, start), "InvalidYAML", whatIn(err), hintFor(text, err))
		return
	}
	if len(node.Content) == 0 {
		return
	}
	d := decoder{within: map[*yaml.Node]bool{}, at: func(n *yaml.Node) Position {
		return Position{File: p.file, Line: n.Line + line, Column: n.Column}
	}}
	value, err := d.decode(&node)
	if err != nil {
		p.fault(start, "InvalidYAML", err.Error(), "")
		return
	}
	if value == nil {
		return
	}
	fields, isObject := value.(map[string]any)
	if !isObject {
		p.fault(start, "InvalidYAML", "is no object: it has no fields such as apiVersion and kind", "")
		return
	}
	p.object(&Document{Fields: fields, Faults: d.faults, file: p.file, line: line, node: node.Content[0]})
}

// object takes in an object, or those of a list.
func (p *parser) object(d *Document) {
	ours := strings.HasPrefix(d.APIVersion(), v1alpha1.GroupVersion.Group+"/")
	items, isList := d.Fields["items"].([]any)
	switch {
	case isList && strings.HasSuffix(d.Kind(), "List"):
		p.items(d, items)
	case d.Kind() == "" || d.APIVersion() == "":
		p.fault(d.At(""), "InvalidYAML", "is no Kubernetes object: it has no "+cmp.Or(missing(d), "kind"), "begin with apiVersion: "+v1alpha1.GroupVersion.String()+" and a kind")
	case ours:
		p.set.Documents = append(p.set.Documents, d)
	default:
		p.set.Others++
		if d.Kind() == "Namespace" && d.APIVersion() == "v1" {
			p.namespace(d)
		}
	}
}

func missing(d *Document) string {
	if d.APIVersion() == "" {
		return "apiVersion"
	}
	return "kind"
}

func (p *parser) items(d *Document, items []any) {
	_, list := step(d.node, "items")
	for list != nil && list.Kind == yaml.AliasNode {
		list = list.Alias
	}
	p.set.Faults = append(p.set.Faults, d.Faults...)
	for i, item := range items {
		fields, isObject := item.(map[string]any)
		if !isObject || list == nil || i >= len(list.Content) {
			p.fault(d.At(fmt.Sprintf("items[%d]", i)), "InvalidYAML", "is no object", "")
			continue
		}
		node := list.Content[i]
		if node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		p.object(&Document{Fields: fields, file: d.file, line: d.line, node: node})
	}
}

func (p *parser) namespace(d *Document) {
	metadata, _ := d.Fields["metadata"].(map[string]any)
	written, _ := metadata["labels"].(map[string]any)
	labels := map[string]string{"kubernetes.io/metadata.name": d.Name()}
	for key, value := range written {
		labels[key] = fmt.Sprint(value)
	}
	p.set.NamespaceLabels[d.Name()] = labels
}

// blank tells of a document without content: comments, markers and directives only.
func blank(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' && string(line) != "---" && string(line) != "..." {
			return false
		}
	}
	return true
}

var surrogates = regexp.MustCompile(`\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})`)

// fromJSON makes YAML of JSON where the two differ: in tabs between values, and in letters
// that JSON writes in two halves.
func fromJSON(text []byte) []byte {
	if trimmed := bytes.TrimLeft(text, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return text
	}
	text = bytes.ReplaceAll(text, []byte("\t"), []byte(" "))
	return surrogates.ReplaceAllFunc(text, func(pair []byte) []byte {
		high, _ := strconv.ParseUint(string(pair[2:6]), 16, 32)
		low, _ := strconv.ParseUint(string(pair[8:12]), 16, 32)
		return fmt.Appendf(nil, `\U%08X`, (high-0xD800)<<10+(low-0xDC00)+0x10000)
	})
}

var lineOf = regexp.MustCompile(`^yaml: line (\d+): `)

// whereIn finds the line that an error of the YAML library names.
func whereIn(err error, start Position) Position {
	if found := lineOf.FindStringSubmatch(err.Error()); found != nil {
		line, _ := strconv.Atoi(found[1])
		start.Line += line - 1
	}
	return start
}

func whatIn(err error) string {
	return strings.TrimPrefix(lineOf.ReplaceAllString(err.Error(), ""), "yaml: ")
}

func hintFor(text []byte, err error) string {
	switch {
	case strings.Contains(err.Error(), "cannot start any token") && bytes.Contains(text, []byte("\t")):
		return "YAML is indented by spaces, never by tabs"
	case strings.Contains(err.Error(), "mapping values are not allowed"), strings.Contains(err.Error(), "did not find expected"):
		return "look at the indentation, and at quotes and colons, of this line and the one before"
	}
	return ""
}
