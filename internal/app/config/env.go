package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Prefix begins the name of every environment variable of the program.
const Prefix = "CAUSEWAY_"

// Variables that the command line reads itself; they are no settings.
const (
	EnvConnectionString    = Prefix + "CONNECTION_STRING"     // hub, policy and key for client commands
	EnvDPSConnectionString = Prefix + "DPS_CONNECTION_STRING" // the same of a provisioning service
	EnvCA                  = Prefix + "CA"                    // certificate authority for client commands
	EnvConfig              = Prefix + "CONFIG"                // configuration file
	EnvOutput              = Prefix + "OUTPUT"                // table, json or yaml
)

var notSettings = []string{EnvConnectionString, EnvDPSConnectionString, EnvCA, EnvConfig, EnvOutput}

// overlay sets the values of environment variables, and returns those that
// begin like ours but are unknown. Lists are separated by commas; hubs cannot
// be set this way.
func overlay(c *Config, env []string) (unknown []string, err error) {
	settings := map[string]reflect.Value{}
	variables(Prefix, reflect.ValueOf(c).Elem(), settings)
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, Prefix) || slices.Contains(notSettings, name) {
			continue
		}
		v, ok := settings[name]
		if !ok {
			unknown = append(unknown, name)
			continue
		}
		if err := set(v, value); err != nil {
			return nil, fmt.Errorf("environment variable %s: %w", name, err)
		}
	}
	return unknown, nil
}

// Variables lists the environment variables that set something.
func Variables() []string {
	settings := map[string]reflect.Value{}
	variables(Prefix, reflect.ValueOf(new(Config)).Elem(), settings)
	names := make([]string, 0, len(settings))
	for n := range settings {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func variables(prefix string, v reflect.Value, into map[string]reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		name := prefix + strings.ToUpper(v.Type().Field(i).Tag.Get("yaml"))
		switch {
		case f.Kind() == reflect.Struct:
			variables(name+"_", f, into)
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
		default:
			into[name] = f
		}
	}
}

func set(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(b)
	case reflect.Slice:
		var list []string
		for s := range strings.SplitSeq(text, ",") {
			if s = strings.TrimSpace(s); s != "" {
				list = append(list, s)
			}
		}
		v.Set(reflect.ValueOf(list))
	default:
		panic("config: no text form for " + v.Type().String()) // a new kind of setting, found by the tests
	}
	return nil
}
