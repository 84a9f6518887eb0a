package deploy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// What the edge runtime reads. The agent and its hub refuse everything else
// long after the deployment was accepted, so it is looked at here.
var (
	agentSchema = regexp.MustCompile(`^1\.[01](\.[0-9]{1,4})?$`)
	hubSchema   = regexp.MustCompile(`^1\.[0-9]{1,2}(\.[0-9]{1,4})?$`)

	moduleStatus  = []string{"running", "stopped"}
	restartPolicy = []string{"never", "on-failure", "on-unhealthy", "always"}
	pullPolicy    = []string{"on-create", "never"}
)

const maxRouteName = 256 // bytes

// checkManifest holds a modulesContent to the schemas of the edge runtime:
// either the agent and the hub whole, with all they need, or only modules and
// routes to be laid over that.
func checkManifest(where string, modules map[string][]setting) error {
	agent, hub := modules[registry.EdgeAgent], modules[registry.EdgeHub]
	if whole(agent) != whole(hub) {
		has, lacks := registry.EdgeAgent, registry.EdgeHub
		if whole(hub) {
			has, lacks = lacks, has
		}
		return badContent(where, "%s has properties.desired and %s has not: a deployment has both, a layer over one has neither", has, lacks)
	}
	for _, x := range []struct {
		id       string
		settings []setting
		check    func(where string, doc object) error
		layer    string
	}{{registry.EdgeAgent, agent, checkAgent, "modules"}, {registry.EdgeHub, hub, checkHub, "routes"}} {
		at := fmt.Sprintf("%s[%q]", where, x.id)
		if whole(x.settings) {
			doc := object{}
			for _, s := range x.settings {
				doc = put(doc, s)
			}
			if err := x.check(at+`["properties.desired"]`, doc); err != nil {
				return err
			}
			continue
		}
		for _, s := range x.settings {
			if err := checkLayer(at, x.layer, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkLayer checks a path of a layer: it may name a module or a route, or
// something inside of one.
func checkLayer(where, layer string, s setting) error {
	at := fmt.Sprintf("%s[%q]", where, desiredRoot+"."+s.key())
	if len(s.path) < 2 || s.path[0] != layer {
		return badContent(at, "a layer can only set properties.desired.%s.{name}; give all of properties.desired, of %s and %s, for a deployment that stands by itself",
			layer, registry.EdgeAgent, registry.EdgeHub)
	}
	if layer == "routes" {
		if err := checkRouteName(at, s.path[1]); err != nil {
			return err
		}
		if len(s.path) == 2 && s.value != nil {
			return checkRoute(at, s.value, true)
		}
		return nil
	}
	if err := checkModuleName(at, s.path[1]); err != nil {
		return err
	}
	if len(s.path) == 2 && s.value != nil {
		return checkModuleSpec(at, s.value)
	}
	return nil
}

// checkAgent checks the desired properties of $edgeAgent.
func checkAgent(where string, doc object) error {
	if v, ok := doc["schemaVersion"].(string); !ok || !agentSchema.MatchString(v) {
		return badContent(where+".schemaVersion", `it must be "1.0" or "1.1"`)
	}
	runtime, err := inner(where, doc, "runtime", true)
	if err != nil {
		return err
	}
	if err := oneOf(where+".runtime", runtime, "type", true, "docker"); err != nil {
		return err
	}
	settings, err := inner(where+".runtime", runtime, "settings", false)
	if err != nil {
		return err
	}
	if _, err := inner(where+".runtime.settings", settings, "registryCredentials", false); err != nil {
		return err
	}
	own, err := inner(where, doc, "systemModules", true)
	if err != nil {
		return err
	}
	for _, name := range []string{"edgeAgent", "edgeHub"} {
		at := where + ".systemModules." + name
		spec, ok := own[name].(object)
		if !ok {
			return badContent(at, "an object was expected")
		}
		if err := checkContainer(at, spec); err != nil {
			return err
		}
		if err := checkPolicies(at, spec, false); err != nil {
			return err
		}
	}
	modules, err := inner(where, doc, "modules", false)
	if err != nil {
		return err
	}
	if len(modules) > causeway.MaxModulesPerDevice {
		return badContent(where+".modules", "there are %d modules, at most %d are allowed", len(modules), causeway.MaxModulesPerDevice)
	}
	for _, name := range sortedNames(modules) {
		at := where + ".modules." + name
		if err := checkModuleName(at, name); err != nil {
			return err
		}
		if err := checkModuleSpec(at, modules[name]); err != nil {
			return err
		}
	}
	return nil
}

func checkModuleName(where, name string) error {
	if !registry.ValidID(name) || system(name) {
		return badContent(where, "%q cannot name a module: use 1 to %d ASCII letters, digits and characters of - %% _ * ? ! ( ) , : = @ ', not '$' at the start", name, causeway.MaxIDLength)
	}
	return nil
}

// checkModuleSpec checks how a module is to run.
func checkModuleSpec(where string, v any) error {
	spec, ok := v.(object)
	if !ok {
		return badContent(where, "an object was expected")
	}
	if err := checkContainer(where, spec); err != nil {
		return err
	}
	return checkPolicies(where, spec, true)
}

// checkContainer checks what modules and system modules have in common.
func checkContainer(where string, spec object) error {
	if err := oneOf(where, spec, "type", true, "docker"); err != nil {
		return err
	}
	settings, err := inner(where, spec, "settings", true)
	if err != nil {
		return err
	}
	if image, _ := settings["image"].(string); strings.TrimSpace(image) == "" {
		return badContent(where+".settings.image", "the reference of an image was expected")
	}
	if err := checkCreateOptions(where+".settings", settings); err != nil {
		return err
	}
	if err := oneOf(where, spec, "imagePullPolicy", false, pullPolicy...); err != nil {
		return err
	}
	if v, ok := spec["startupOrder"]; ok {
		n, _ := v.(json.Number)
		if _, err := strconv.ParseUint(n.String(), 10, 32); err != nil {
			return badContent(where+".startupOrder", "a whole number from 0 to 4294967295 was expected")
		}
	}
	env, err := inner(where, spec, "env", false)
	if err != nil {
		return err
	}
	for _, name := range sortedNames(env) {
		at := where + ".env." + name
		v, ok := env[name].(object)
		if !ok {
			return badContent(at, `an object {"value": …} was expected`)
		}
		switch v["value"].(type) {
		case string, bool, json.Number:
		default:
			return badContent(at+".value", "a string, a number or a boolean was expected")
		}
	}
	return nil
}

// checkCreateOptions puts the parts of createOptions together, which the limit
// on strings of twins makes necessary, and checks that they are JSON.
func checkCreateOptions(where string, settings object) error {
	var text strings.Builder
	for _, name := range sortedNames(settings) {
		if rest, ok := strings.CutPrefix(name, "createOptions"); !ok || rest != "" && strings.Trim(rest, "0123456789") != "" {
			continue
		}
		switch v := settings[name].(type) {
		case string:
			text.WriteString(v)
		case object:
			return nil
		default:
			return badContent(where+"."+name, "JSON in a string was expected")
		}
	}
	if t := strings.TrimSpace(text.String()); t != "" {
		if o, err := decode([]byte(t)); err != nil || o == nil {
			return badContent(where+".createOptions", "the text, with all its parts, is not a JSON object")
		}
	}
	return nil
}

func checkPolicies(where string, spec object, needStatus bool) error {
	if err := oneOf(where, spec, "status", needStatus, moduleStatus...); err != nil {
		return err
	}
	return oneOf(where, spec, "restartPolicy", false, restartPolicy...)
}

// checkHub checks the desired properties of $edgeHub.
func checkHub(where string, doc object) error {
	schema, ok := doc["schemaVersion"].(string)
	if !ok || !hubSchema.MatchString(schema) {
		return badContent(where+".schemaVersion", `it must be "1.0", "1.1" or another version of major 1`)
	}
	routes, err := inner(where, doc, "routes", false)
	if err != nil {
		return err
	}
	old := schema == "1.0" || strings.HasPrefix(schema, "1.0.")
	for _, name := range sortedNames(routes) {
		at := where + ".routes." + name
		if err := checkRouteName(at, name); err != nil {
			return err
		}
		if err := checkRoute(at, routes[name], !old); err != nil {
			return err
		}
	}
	store, err := inner(where, doc, "storeAndForwardConfiguration", false)
	if err != nil {
		return err
	}
	if v, ok := store["timeToLiveSecs"]; ok {
		n, _ := v.(json.Number)
		if _, err := strconv.ParseInt(n.String(), 10, 32); err != nil {
			return badContent(where+".storeAndForwardConfiguration.timeToLiveSecs", "a whole number of seconds was expected")
		}
	}
	return nil
}

func checkRouteName(where, name string) error {
	if name == "" || len(name) > maxRouteName || strings.ContainsAny(name, ".$# ") {
		return badContent(where, "%q cannot name a route: use up to %d bytes without blank and . $ #", name, maxRouteName)
	}
	return nil
}

// checkRoute checks a route: its text, or since schema 1.1 an object with it.
func checkRoute(where string, v any, mayBeObject bool) error {
	switch r := v.(type) {
	case string:
		return nil
	case object:
		if !mayBeObject {
			return badContent(where, `the text of a route was expected; objects need schemaVersion "1.1"`)
		}
		if _, ok := r["route"].(string); !ok {
			return badContent(where+".route", "the text of a route was expected")
		}
		for name, most := range map[string]uint64{"priority": 9, "timeToLiveSecs": 1<<32 - 1} {
			v, ok := r[name]
			if !ok {
				continue
			}
			n, _ := v.(json.Number)
			if u, err := strconv.ParseUint(n.String(), 10, 64); err != nil || u > most {
				return badContent(where+"."+name, "a whole number from 0 to %d was expected", most)
			}
		}
		return nil
	}
	return badContent(where, "the text of a route was expected")
}

// inner returns a member that is an object; one that may be missing is empty.
func inner(where string, o object, name string, required bool) (object, error) {
	v, ok := o[name]
	if !ok && !required {
		return object{}, nil
	}
	in, ok := v.(object)
	if !ok {
		return nil, badContent(where+"."+name, "an object was expected")
	}
	return in, nil
}

// oneOf checks a member that has one of some values.
func oneOf(where string, o object, name string, required bool, values ...string) error {
	v, ok := o[name]
	if !ok && !required {
		return nil
	}
	if s, isText := v.(string); isText && slices.Contains(values, s) {
		return nil
	}
	return badContent(where+"."+name, "it must be %s", strings.Join(values, ", "))
}
