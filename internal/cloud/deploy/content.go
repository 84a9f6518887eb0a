package deploy

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/twin"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// The members of a content, and how the paths in it begin.
const (
	deviceContent  = "deviceContent"
	moduleContent  = "moduleContent"
	modulesContent = "modulesContent"

	desiredRoot = "properties.desired"
)

// content is a parsed content. Which members it has says what it is for.
type content struct {
	device  []setting            // of deviceContent
	module  []setting            // of moduleContent
	modules map[string][]setting // of modulesContent, by module
}

// kind returns what the content is for; ok is false when that is not one thing.
func (c *content) kind() (k Kind, ok bool) {
	n := 0
	for _, x := range []struct {
		there bool
		k     Kind
	}{{c.device != nil, Device}, {c.module != nil, Module}, {c.modules != nil, Edge}} {
		if x.there {
			k, n = x.k, n+1
		}
	}
	return k, n == 1
}

// base reports whether an edge deployment stands by itself: it has all the
// desired properties of the agent and of the hub. Others are layers over such.
func (c *content) base() bool {
	return whole(c.modules[registry.EdgeAgent]) && whole(c.modules[registry.EdgeHub])
}

func whole(settings []setting) bool { return len(settings) > 0 && len(settings[0].path) == 0 }

func badContent(where, format string, args ...any) error {
	return causeway.Errorf(causeway.InvalidConfigurationContent, "deploy.content", "%s: %s", where, fmt.Sprintf(format, args...))
}

// parseContent reads a content. Members that are null or empty count as absent,
// as clients send those they do not use. The result has settings of shorter
// paths before those of longer ones. Code: InvalidConfigurationContent.
func parseContent(text []byte) (content, error) {
	var c content
	if len(text) == 0 {
		return c, badContent("content", "it is missing; give deviceContent, moduleContent or modulesContent")
	}
	if len(text) > MaxContent {
		return c, badContent("content", "it has %d bytes, at most %d are allowed", len(text), MaxContent)
	}
	root, err := decode(text)
	if err != nil {
		return c, badContent("content", "an object was expected")
	}
	left := MaxSettings
	for _, name := range sortedNames(root) {
		where := "content." + name
		if root[name] == nil {
			continue
		}
		members, ok := root[name].(object)
		if !ok {
			return c, badContent(where, "an object was expected")
		}
		switch name {
		case deviceContent, moduleContent:
			settings, err := parseSettings(where, members, false, &left)
			if err != nil {
				return c, err
			}
			if name == deviceContent {
				c.device = settings
			} else {
				c.module = settings
			}
		case modulesContent:
			if c.modules, err = parseModules(where, members, &left); err != nil {
				return c, err
			}
		default:
			return c, badContent(where, "no such member; a content has deviceContent, moduleContent or modulesContent")
		}
	}
	if c.device == nil && c.module == nil && c.modules == nil {
		return c, badContent("content", "it is empty; give deviceContent, moduleContent or modulesContent")
	}
	return c, nil
}

// parseModules reads modulesContent.
func parseModules(where string, members object, left *int) (map[string][]setting, error) {
	if len(members) == 0 {
		return nil, nil
	}
	modules := make(map[string][]setting, len(members))
	for _, id := range sortedNames(members) {
		at := fmt.Sprintf("%s[%q]", where, id)
		if !registry.ValidID(id) {
			return nil, badContent(at, "that is no module id: one has 1 to %d ASCII letters, digits and characters of - . %% _ * ? ! ( ) , : = @ $ '", causeway.MaxIDLength)
		}
		if system(id) && id != registry.EdgeAgent && id != registry.EdgeHub {
			return nil, badContent(at, "module ids that start with '$' are reserved, there are only %s and %s", registry.EdgeAgent, registry.EdgeHub)
		}
		if members[id] == nil {
			continue
		}
		paths, ok := members[id].(object)
		if !ok {
			return nil, badContent(at, "an object was expected")
		}
		settings, err := parseSettings(at, paths, true, left)
		if err != nil {
			return nil, err
		}
		if settings == nil {
			settings = []setting{} // named, with nothing to set
		}
		modules[id] = settings
	}
	return modules, checkManifest(where, modules)
}

// system reports whether a module belongs to the platform.
func system(module string) bool { return strings.HasPrefix(module, "$") }

// parseSettings reads paths of desired properties. All of them at once, the key
// properties.desired, is for modules of edge devices only.
func parseSettings(where string, members object, mayBeWhole bool, left *int) ([]setting, error) {
	var settings []setting
	for _, key := range sortedNames(members) {
		at := fmt.Sprintf("%s[%q]", where, key)
		if *left--; *left < 0 {
			return nil, badContent(at, "the content has more than %d paths", MaxSettings)
		}
		rest, ok := strings.CutPrefix(key, desiredRoot)
		var path []string
		switch {
		case !ok || rest != "" && rest[0] != '.':
			return nil, badContent(at, "the path must begin with properties.desired")
		case rest == "" && !mayBeWhole:
			return nil, badContent(at, "name a property below properties.desired: all properties at once can only be set on modules of edge devices")
		case rest != "":
			path = strings.Split(rest[1:], ".")
		}
		s, err := newSetting(at, path, members[key])
		if err != nil {
			return nil, err
		}
		settings = append(settings, s)
	}
	// Byte order is that of prefixes first: "a" is before "a.b" whatever is
	// between them, so a path comes before what refines it.
	return settings, nil
}

// newSetting checks a setting by the rules of twins and gives its value the form
// it will have in one.
func newSetting(where string, path []string, value any) (setting, error) {
	for i, name := range path {
		if name == "" {
			return setting{}, badContent(where, "segment %d of the path is empty", i+2)
		}
		if name[0] == '$' {
			return setting{}, badContent(where, "%q cannot be set: names that start with '$' belong to the hub", name)
		}
	}
	if len(path) == 0 {
		if _, ok := value.(object); !ok {
			return setting{}, badContent(where, "an object was expected")
		}
	}
	s := setting{path: path, value: value}
	if value == nil {
		return s, checkDesired(where, put(object{}, setting{path: path, value: true}), nil)
	}
	doc := put(object{}, s)
	var kept object
	if err := checkDesired(where, doc, &kept); err != nil {
		return setting{}, err
	}
	s.value = kept
	for _, name := range path {
		o, _ := s.value.(object)
		s.value = o[name]
	}
	return s, nil
}

// checkDesired holds desired properties to the limits of twins. Kept is what a
// twin makes of them.
func checkDesired(where string, doc object, kept *object) error {
	text, err := json.Marshal(doc)
	if err != nil {
		return badContent(where, "%v", err)
	}
	r, err := twin.Replace(twin.Doc{}, text, twin.Change{Section: twin.Desired})
	if err != nil {
		return badContent(where, "%s", causeway.MessageOf(err))
	}
	if kept != nil {
		if *kept, err = decode(r.Properties); err != nil {
			return fmt.Errorf("read checked content: %w", err)
		}
	}
	return nil
}

// compact returns a content without white space and with names in order, for
// comparing two of them and to be kept.
func compact(text []byte) ([]byte, error) {
	o, err := decode(text)
	if err != nil {
		return nil, badContent("content", "an object was expected")
	}
	for name, v := range o {
		if v == nil {
			delete(o, name)
		}
	}
	return hubjson.Marshal(o)
}
