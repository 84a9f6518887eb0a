package dps

import "github.com/causeway-iot/causeway"

// The codes of errors that only the provisioning service has. Their first three
// digits are the HTTP status, as with those of IoT Hub.
const (
	CodeUnauthorized       causeway.Code = 401002 // said to every device that is refused
	CodeEnrollmentNotFound causeway.Code = 404201
	CodeNotFound           causeway.Code = 404202 // registrations, operations
	CodeScopeNotFound      causeway.Code = 404203
	CodeConflict           causeway.Code = 409203
	CodeForbidden          causeway.Code = 403000 // the policy lacks the right
	CodePrecondition       causeway.Code = 412000
	CodeInvalid            causeway.Code = 400000
	CodeThrottled          causeway.Code = 429001
	CodeTooMany            causeway.Code = 403001
)

// The codes of registrations that failed, which are not codes of a call.
const (
	FailedAllocation = 400207 // a custom allocation failed
	FailedNoHub      = 400208 // no linked hub takes the device
	FailedHub        = 400209 // the hub refused
)

func invalid(format string, args ...any) error {
	return causeway.Errorf(CodeInvalid, "dps", format, args...)
}
