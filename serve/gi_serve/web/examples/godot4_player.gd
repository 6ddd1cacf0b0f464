extends Node

var session = preload("res://gi_client_godot4.gd").new("http://127.0.0.1:8000", {"seed": 1})


func _ready():
	session.status.connect(func(kind, words): print("gi %s: %s" % [kind, words]))
	add_child(session)
	session.open()


func _process(_delta):
	session.send_image(get_viewport().get_texture().get_image())
	var state = session.due()
	if state != null:
		session.press(state)
