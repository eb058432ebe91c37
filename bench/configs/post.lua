-- Posts bodies of the size that is given after "--".
function init(arguments)
   wrk.method = "POST"
   wrk.body = string.rep("x", tonumber(arguments[1]))
   wrk.headers["Content-Type"] = "application/octet-stream"
end
