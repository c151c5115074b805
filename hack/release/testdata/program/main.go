// Command program does nothing, and is what tests make images of.
package main

func main() {}
