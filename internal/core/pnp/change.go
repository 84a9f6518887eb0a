package pnp

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// Change is a change of a twin, as merge patches without "$" members; nil for a
// section that was not written.
type Change struct {
	Desired, Reported []byte
	DesiredVersion    int64 // of the desired section after the change
	At                time.Time
}

// Changes returns the JSON Patch that a change makes of the digital twin, nil
// when it makes none. An error means that c is not as the registry makes it.
func Changes(c Change) ([]byte, error) {
	w := changes{Change: c, out: []byte{'['}}
	w.at = quote(c.At.UTC().Format(hubjson.Ticks))
	w.version = strconv.AppendInt(nil, c.DesiredVersion, 10)
	if err := w.section(c.Desired, "", w.desired); err != nil {
		return nil, fmt.Errorf("read a change of desired properties: %w", err)
	}
	if err := w.section(c.Reported, "", w.reported); err != nil {
		return nil, fmt.Errorf("read a change of reported properties: %w", err)
	}
	if len(w.out) == 1 {
		return nil, nil
	}
	return append(w.out, ']'), nil
}

// changes writes a JSON Patch.
type changes struct {
	Change
	out     []byte
	at      []byte // At as JSON
	version []byte
}

// section gives every property of a merge patch to each, with the path of its
// component.
func (c *changes) section(text []byte, path string, each func(path, name string, value []byte)) error {
	o, err := parse(text)
	if err != nil {
		return err
	}
	for _, m := range o {
		if m.name == marker {
			continue
		}
		if path == "" {
			inner, err := parse(m.value)
			if err != nil {
				return err
			}
			if inner.component() {
				if err := c.section(m.value, "/"+escape(m.name), each); err != nil {
					return err
				}
				continue
			}
		}
		each(path, escape(m.name), m.value)
	}
	return nil
}

func (c *changes) desired(path, name string, value []byte) {
	if string(value) == "null" {
		c.op("remove", path+"/$metadata/"+name+"/desiredValue", nil)
		c.op("remove", path+"/$metadata/"+name+"/desiredVersion", nil)
		return
	}
	v := append([]byte(`{"desiredValue":`), value...)
	v = append(append(v, `,"desiredVersion":`...), c.version...)
	c.op("add", path+"/$metadata/"+name, append(v, '}'))
}

func (c *changes) reported(path, name string, value []byte) {
	if string(value) == "null" {
		c.op("remove", path+"/"+name, nil)
		return
	}
	meta := path + "/$metadata/" + name
	if a, ok := acknowledgement(value); ok {
		c.op("add", meta+"/ackVersion", a.version)
		c.op("add", meta+"/ackCode", a.code)
		if a.description != nil {
			c.op("add", meta+"/ackDescription", a.description)
		}
		value = a.value
	}
	c.op("add", meta+"/lastUpdateTime", c.at)
	c.op("add", path+"/"+name, value)
}

// op appends one operation.
func (c *changes) op(name, path string, value []byte) {
	if len(c.out) > 1 {
		c.out = append(c.out, ',')
	}
	c.out = append(append(c.out, `{"op":`...), quote(name)...)
	c.out = append(append(c.out, `,"path":`...), quote(path)...)
	if value != nil {
		c.out = append(append(c.out, `,"value":`...), value...)
	}
	c.out = append(c.out, '}')
}

// escape writes a name as part of a path (RFC 6901).
func escape(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}
