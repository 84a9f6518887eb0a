// Package plugin is the kit for extensions: what a sink of routed messages is,
// how its failures say what may be done about them, and the registry in which
// kinds of sinks are found by name.
//
// A kind is a Go struct of settings and a constructor. From the struct come the
// strict reading of settings, their description, and which of them are secret:
//
//	type Config struct {
//		URL      string          `json:"url" doc:"where to post" example:"https://example.com/in"`
//		Password causeway.Secret `json:"password,omitempty" doc:"for basic authentication"`
//	}
//	plugin.AddSink(registry, "webhook", "Posts messages over HTTP", open)
//
// The package knows neither queues nor routes: who retries, and what becomes of
// messages that are never taken, is decided by the caller of a sink.
package plugin
