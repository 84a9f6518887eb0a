package sas

import "strings"

// Covers reports whether a token for the resource granted is good for wanted:
// both on the same host, compared without case and port, and the path of granted
// a prefix of wanted's by whole segments. A scheme is ignored on either side,
// and so is a query "?api-version=…" that some clients leave in granted.
//
// A longer resource than wanted covers nothing, nor does an empty one.
func Covers(granted, wanted string) bool {
	return covers(granted, wanted, func(a, b string) bool { return a == b })
}

// CoversFold is like [Covers] but compares paths without case, as the service
// API does.
func CoversFold(granted, wanted string) bool { return covers(granted, wanted, strings.EqualFold) }

func covers(granted, wanted string, equal func(a, b string) bool) bool {
	if prefix(granted, wanted, equal) {
		return true
	}
	// Only now, and only here: an id may look like a query.
	i := strings.LastIndex(granted, "?api-version=")
	return i >= 0 && prefix(granted[:i], wanted, equal)
}

func prefix(granted, wanted string, equal func(a, b string) bool) bool {
	gh, gp := split(granted)
	wh, wp := split(wanted)
	if gh == "" || !strings.EqualFold(gh, wh) {
		return false
	}
	for gp != "" {
		var g, w string
		if wp == "" {
			return false
		}
		g, gp, _ = strings.Cut(gp, "/")
		w, wp, _ = strings.Cut(wp, "/")
		if !equal(g, w) {
			return false
		}
	}
	return true
}

// split takes a resource apart into its host without port, and its path without
// slashes at either end.
func split(resource string) (host, path string) {
	if i := strings.Index(resource, "://"); i > 0 && !strings.Contains(resource[:i], "/") {
		resource = resource[i+3:]
	}
	host, path, _ = strings.Cut(resource, "/")
	return Host(host), strings.Trim(path, "/")
}

// Host returns hostport without its port: "hub:8443" and "[::1]:8443" become
// "hub" and "[::1]".
func Host(hostport string) string {
	if i := strings.LastIndexByte(hostport, ':'); i > strings.LastIndexByte(hostport, ']') && strings.IndexByte(hostport, ':') == i ||
		i > 0 && hostport[i-1] == ']' {
		return hostport[:i]
	}
	return hostport
}
