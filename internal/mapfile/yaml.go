package mapfile

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/popdns/popdns/internal/finding"
)

func readYAML(data []byte, errs *finding.List, top func(value)) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		errs.Add(0, "the file is empty")
		return errs.Err()
	case err != nil:
		line, err := yamlPosition(err)
		errs.Add(line, "not YAML: %w", err)
		return errs.Err()
	}
	top(yamlValue{resolve(doc.Content[0])})
	var more yaml.Node
	switch err := d.Decode(&more); {
	case err == nil:
		errs.Add(more.Line, "a second document: keep one per file")
	case !errors.Is(err, io.EOF):
		line, err := yamlPosition(err)
		errs.Add(line, "not YAML: %w", err)
	}
	return errs.Err()
}

var yamlMessage = regexp.MustCompile(`^yaml: (?:line (\d+): )?([\s\S]*)$`)

// yamlPosition takes the line out of the library's message.
func yamlPosition(err error) (int, error) {
	m := yamlMessage.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, err
	}
	line, _ := strconv.Atoi(m[1]) // none: the file as a whole
	return line, errors.New(m[2])
}

// resolve follows an alias. An alias can't name an alias, and the walk over a document goes to a fixed depth, so nested
// aliases can't blow up.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

type yamlValue struct{ n *yaml.Node }

func (v yamlValue) line() int { return v.n.Line }

func (v yamlValue) null() bool { return v.n.Kind == yaml.ScalarNode && v.n.ShortTag() == "!!null" }

func (v yamlValue) text() (string, bool) {
	if v.n.Kind != yaml.ScalarNode || v.null() {
		return "", false
	}
	return v.n.Value, true
}

func (v yamlValue) pairs(yield func(key string, line int, v value)) error {
	if v.n.Kind != yaml.MappingNode {
		return v.wrongKind()
	}
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		key := resolve(v.n.Content[i])
		yield(key.Value, v.n.Content[i].Line, yamlValue{resolve(v.n.Content[i+1])})
	}
	return nil
}

func (v yamlValue) items(yield func(v value)) error {
	if v.n.Kind != yaml.SequenceNode {
		return v.wrongKind()
	}
	for _, n := range v.n.Content {
		yield(yamlValue{resolve(n)})
	}
	return nil
}

func (v yamlValue) wrongKind() error {
	switch {
	case v.n.Kind == yaml.MappingNode:
		return wrongKind("a mapping")
	case v.n.Kind == yaml.SequenceNode:
		return wrongKind("a list")
	case v.null():
		return wrongKind("empty")
	}
	return wrongKind("a single value")
}
