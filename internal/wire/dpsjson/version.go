package dpsjson

import (
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// OldestVersion is the first version of the API whose answers are like ours.
const OldestVersion = "2017-08-31"

// firstWithCSR is the first version of the API in which a device may send a CSR.
const firstWithCSR = "2025-07-01"

// KnowsCSR reports whether a version of the API, a date with or without a suffix, has
// certificates issued at registration.
func KnowsCSR(version string) bool { return version >= firstWithCSR }

// CheckVersion accepts any date from the first version on, with or without a
// suffix such as -preview. Code: 400000.
func CheckVersion(v string) error {
	if v == "" {
		return causeway.Errorf(invalidRequest, "dpsjson.version", "api-version is missing, give a date such as api-version=2021-10-01")
	}
	date, _, _ := strings.Cut(v, "-preview")
	if _, err := time.Parse(time.DateOnly, date); err != nil || date < OldestVersion || len(v) > 32 {
		return causeway.Errorf(invalidRequest, "dpsjson.version", "api-version %q is not a date from %s on, such as 2021-10-01", clip(v), OldestVersion)
	}
	return nil
}
