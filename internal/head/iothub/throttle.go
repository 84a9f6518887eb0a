package iothub

import (
	"net/http"
	"strings"

	"github.com/causeway-iot/causeway/internal/core/quota"
)

// throttle waits until the hub takes another request of its kind.
func throttle(c *call) error {
	l := c.hub.Limiter()
	if _, on := l.Limits(); !on {
		return nil
	}
	kind, ok := kindOf(c.route)
	if !ok {
		return nil
	}
	n := 1
	if kind == quota.Methods {
		n = max(1, int((c.r.ContentLength+quota.MethodUnit-1)/quota.MethodUnit))
	}
	return l.Enter(c.r.Context(), kind, n)
}

// kindOf returns what a route counts as; ok is false for those that have no rate.
func kindOf(r *route) (kind quota.Kind, ok bool) {
	first, rest, _ := strings.Cut(r.pattern[1:], "/")
	reads := r.method == http.MethodGet
	switch first {
	case "devices":
		switch {
		case rest == "query":
			return quota.Queries, true
		case strings.Contains(rest, "/messages/"), strings.HasSuffix(rest, "/commands"):
			return quota.CommandSends, true
		case strings.HasSuffix(rest, "/applyConfigurationContent"):
			return quota.Configurations, true
		}
		return quota.Registry, true
	case "statistics":
		return quota.Registry, true
	case "twins", "digitaltwins":
		switch {
		case reads:
			return quota.TwinReads, true
		case r.method == http.MethodPost: // methods and commands
			return quota.Methods, true
		}
		return quota.TwinUpdates, true
	case "jobs":
		return quota.Jobs, true
	case "configurations":
		return quota.Configurations, true
	}
	return 0, false
}
