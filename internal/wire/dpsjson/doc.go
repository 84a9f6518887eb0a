// Package dpsjson is the JSON that devices exchange with the provisioning service,
// whatever carries it: HTTPS, MQTT or AMQP.
//
// Clients are strict in different ways. Some cannot read an answer without a
// registrationState, even while there is nothing to say; some read members by
// type; none minds more members than it knows. What is written here suits all.
package dpsjson
